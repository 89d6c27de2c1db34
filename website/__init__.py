"""What the site is built with, beside its pages."""
