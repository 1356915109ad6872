"""Salt's client on the master of a lab, loaded once.

Runs on the master by Salt's Python. To start `salt` takes more than a second of a processor, in User Mode
Linux ten, and a test gives several commands. A line of standard input is a job, `{"target": text, "kind":
"glob" or "list", "function": name, "arguments": [text, ...], "timeout": seconds}`; its answer is a line of
standard output, `[found, error]`: what each minion returned that answered.
"""

import json
import os
import sys

import salt.client
import salt.config


def answers(opts, target, kind, function, arguments, timeout):
    """Return what each minion returned; by a client of its own, since the master may have been restarted."""
    with salt.client.LocalClient(mopts=dict(opts)) as client:
        found = client.cmd(target, function, arguments, timeout=timeout, tgt_type=kind, full_return=True)
    # false, or a sentence that is marked so, where it did not answer
    return {minion: said["ret"] for minion, said in found.items() if said and said.get("out") != "no_return"}


def serve(out):
    """Answer jobs until standard input ends."""
    opts = salt.config.client_config("/etc/salt/master")
    for line in sys.stdin:
        try:
            answer = [answers(opts, **json.loads(line)), ""]
        except Exception as error:  # who gave the job says so
            answer = [{}, f"{type(error).__name__}: {error}"]
        print(json.dumps(answer, default=str), file=out, flush=True)


if __name__ == "__main__":
    kept = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Salt prints is no answer
    serve(kept)
