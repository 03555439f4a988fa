"""Makes a precompiled charsmap from a table of replacements, for tests: every node of the trie gets a block of 256 units."""

import base64


def make_charsmap(table):
    """{text: replacement} as the bytes that SentencePiece would keep, with a wasteful but valid double array."""
    strings, values = b"", {}
    for key, replacement in table.items():
        values[key.encode()] = len(strings)
        strings += replacement.encode() + b"\0"
    prefixes = {b"", *(key[:n] for key in values for n in range(len(key) + 1))}
    units, place, base, following = {}, {b"": 0}, {}, 256
    for prefix in sorted(prefixes):  # a parent comes before its children
        here = place[prefix]
        children = [p for p in prefixes if len(p) == len(prefix) + 1 and p.startswith(prefix)]
        if children or prefix in values:
            base[prefix], following = following, following + 256
            offset = here ^ base[prefix]
            scaled = offset >> 8 << 10 | 0x200 if offset % 256 == 0 else offset << 10  # both ways are used
        else:
            scaled = 0
        units[here] = scaled | (0x100 if prefix in values else 0) | (prefix[-1] if prefix else 0)
        if prefix in values:
            units[base[prefix]] = 0x80000000 | values[prefix]
        for child in children:
            place[child] = base[prefix] ^ child[-1]
    array = b"".join(units.get(n, 0).to_bytes(4, "little") for n in range(following))
    return len(array).to_bytes(4, "little") + array + strings


def make_charsmap_text(table):
    return base64.b64encode(make_charsmap(table)).decode()
