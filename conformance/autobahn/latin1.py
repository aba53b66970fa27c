"""Byte strings of Python 2 as text of Python 3: one character for each byte (Latin-1), so that the suite's cases keep
building payloads out of string literals. Bytes are only at the border to the autobahn library, in `AtTheBorder`."""

import binascii


def raw(text):
    """The bytes that `text` stands for."""
    return text.encode("latin-1") if isinstance(text, str) else text


def text(data):
    """What stands for the bytes of `data`."""
    return data.decode("latin-1") if isinstance(data, (bytes, bytearray)) else data


def b2a_hex(data):
    """Hexadecimal, as the suite prints it."""
    return text(binascii.b2a_hex(raw(data)))


def hex_for_log(data, maxlen=64):
    """The suite's `binLogData`."""
    return b2a_hex(data[:maxlen]) + " ..." if len(data) > maxlen - 4 else b2a_hex(data)


def text_for_log(data, maxlen=64, replace=False):
    """The suite's `asciiLogData`: the text itself, or hexadecimal where it is no UTF-8."""
    data = raw(data)
    shown = data[:maxlen] + b" ..." if len(data) > maxlen - 4 else data
    try:
        return shown.decode("utf-8", errors="replace" if replace else "strict")
    except UnicodeDecodeError:
        return "0x" + hex_for_log(data, maxlen)


class Masker:
    """The mask of RFC 6455 section 5.3, over whole payloads at a time: the library's own takes seconds for 16 MiB."""

    def __init__(self, mask, length=None):
        self.mask = mask
        self.done = 0

    def pointer(self):
        return self.done

    def reset(self):
        self.done = 0

    def process(self, data):
        turn = self.done % 4
        length = len(data)
        key = (self.mask[turn:] + self.mask[:turn]) * (length // 4 + 1)
        self.done += length
        mixed = int.from_bytes(data, "little") ^ int.from_bytes(key[:length], "little")
        return mixed.to_bytes(length, "little")


class AtTheBorder:
    """Goes in front of the suite's client protocol: what it sends becomes bytes, what it is given becomes text."""

    def sendFrame(self, opcode, payload=b"", **options):
        super().sendFrame(opcode, raw(payload), **options)

    def sendMessage(self, payload, isBinary=False, fragmentSize=None):
        super().sendMessage(raw(payload), isBinary, fragmentSize)

    def sendMessageFrameData(self, payload, sync=False):
        return super().sendMessageFrameData(raw(payload), sync)

    def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
        super().sendCloseFrame(code, raw(reasonUtf8), isReply)

    def failConnection(self):
        # The name that the library had for this when the suite was written.
        self._fail_connection()

    def onCloseFrame(self, code, reasonRaw):
        result = super().onCloseFrame(code, reasonRaw)
        # The library puts 1000 in the place of a code that must not be sent; the suite judges what was sent.
        self.remoteCloseCode = code
        return result

    def onMessage(self, payload, isBinary):
        super().onMessage(text(payload), isBinary)

    def onPong(self, payload):
        super().onPong(text(payload))

    def logRxFrame(self, frameHeader, payload):
        super().logRxFrame(frameHeader, [text(piece) for piece in payload])

    def connectionLost(self, reason):
        # These go into the report.
        for name in ("http_request_data", "http_response_data", "localCloseReason"):
            setattr(self, name, text(getattr(self, name, None) or "?"))
        super().connectionLost(reason)
