"""Connections survive every fault we can think of, and never lie about what was lost."""
