"""Salt on a host of a lab, loaded once: the client of a master, or the `salt-call` of a host without one.

Runs by Salt's Python; the argument is `master` or `local`. To start `salt` or `salt-call` takes more than
a second of a processor, in User Mode Linux eight, and a test gives several commands. A line of standard input
is a job, `{"function": name, "arguments": [text, ...]}`, for minions with `target`, `kind` (`glob` or `list`)
and `timeout` in seconds. Its answer is a line of standard output, `[found, error]`: what each minion returned
that answered, or what the host returned.
"""

import json
import os
import sys

import salt.client
import salt.config
import salt.minion
import salt.utils.jid


def master():
    """Return what gives a job to minions."""
    opts = salt.config.client_config("/etc/salt/master")

    def call(function, arguments, target, kind, timeout):
        with salt.client.LocalClient(mopts=dict(opts)) as client:  # the master may have been restarted
            found = client.cmd(target, function, arguments, timeout=timeout, tgt_type=kind, full_return=True)
        # false, or a sentence that is marked so, where it did not answer
        return {
            minion: said["ret"] for minion, said in found.items() if said and said.get("out") != "no_return"
        }

    return call


def local():
    """Return what calls a function here, with the pillar and the modules as they are by then."""
    minion = salt.minion.SMinion(salt.config.minion_config("/etc/salt/minion"))

    def call(function, arguments):
        minion.gen_modules(initial_load=True)
        called = minion.functions[function]
        job = {"jid": salt.utils.jid.gen_jid(minion.opts), "fun": function, "fun_args": arguments}
        positional, named = salt.minion.load_args_and_kwargs(called, arguments, job)
        return called(*positional, **named)

    return call


def serve(call, out):
    """Answer jobs until standard input ends."""
    for line in sys.stdin:
        try:
            answer = [call(**json.loads(line)), ""]
        except Exception as error:  # who gave the job says so
            answer = [None, f"{type(error).__name__}: {error}"]
        print(json.dumps(answer, default=str), file=out, flush=True)


if __name__ == "__main__":
    kept = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Salt prints is no answer
    serve({"master": master, "local": local}[sys.argv[1]](), kept)
