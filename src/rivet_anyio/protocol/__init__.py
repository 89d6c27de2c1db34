"""The Rivet Actors client protocol, without I/O.

Nothing here awaits, reads a clock or draws a random number, and nothing of the project is
imported but its errors and checks. Each module holds one part of the protocol:

- `keys`: actor keys as servers write them;
- `values`: what Python values become on the way to JavaScript and back;
- `objects`: what objects become, dataclasses and models among them;
- `numbers`: floats as JSON that arrives unchanged;
- `collisions`: keys that were chosen to be slow in Python's tables;
- `dialect`: what differs between server versions;
- `bare`: the primitives of BARE;
- `messages`: what client and server say to each other;
- `codec`, `encodings`: those messages as bytes; `bare_codec`, `cbor_codec`, `json_codec` and, for
  what the last two share, `trees`;
- `addressing`: URLs, headers and subprotocols;
- `management`: the API that finds and creates actors;
- `verdicts`: which errors mean "not now", and whether the action can have run;
- `closes`: what close frames mean;
- `starts`: whether an actor was started anew behind a connection;
- `session`: the state of one WebSocket connection.
"""
