"""The suite's fuzzing client, on the converted sources: runs the cases of a specification and writes the reports.

Usage: client.py SPECIFICATION.json; `planned.json` beside the reports says which cases there were to run.
"""

import json
import os
import sys

import autobahn.websocket.protocol as library
import latin1
from autobahntestsuite import fuzzing
from twisted.internet import reactor


class Protocol(latin1.AtTheBorder, fuzzing.FuzzingClientProtocol):
    """The suite's client."""


def main(path):
    with open(path, encoding="utf-8") as file:
        spec = json.load(file)
    library.create_xor_masker = latin1.Masker
    fuzzing.FuzzingClientProtocol = Protocol
    fuzzing.binLogData = latin1.hex_for_log
    fuzzing.asciiLogData = latin1.text_for_log
    # The suite compares pickles, which in Python 3 also show which objects were the same one.
    fuzzing.Case.compare = lambda self, one, other: one == other
    factory = fuzzing.FuzzingClientFactory(spec)
    os.makedirs(spec["outdir"], exist_ok=True)
    with open(os.path.join(spec["outdir"], "planned.json"), "w", encoding="utf-8") as file:
        json.dump(factory.specCases, file)
    if not factory.specCases:
        sys.exit("no case has such a number")
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1])
