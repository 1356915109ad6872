"""Salt on a host of a lab, loaded once: the client of a master, or the `salt-call` of a host without one.

Runs by Salt's Python; the argument is `master` or `local`. To start `salt` or `salt-call` takes more than
a second of a processor, in User Mode Linux eight, and a test gives several commands. A line of standard input
is a job, `{"function": name, "arguments": [text, ...]}`, for minions with `target`, `kind` (`glob` or `list`)
and `timeout` in seconds. Its answer is a line of standard output, `[found, error]`: what each minion returned
that answered, or what the host returned.

On a host without a master each job is a child, which begins with Salt's modules and the grains, and nothing
that an earlier job made of the pillar or of modules.
"""

import json
import os
import sys

import salt.client
import salt.config
import salt.loader
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

    return lambda job: answered(call, job)


def local():
    """Return what calls a function here, with the pillar and the modules as they are by then."""
    opts = salt.config.minion_config("/etc/salt/minion")
    grains = salt.loader.grains(opts)
    salt.loader.grains = lambda *_, **__: grains  # it would ask a dozen programs, for each job

    def call(function, arguments):
        minion = salt.minion.SMinion(opts)
        wanted = minion.functions[function]
        job = {"jid": salt.utils.jid.gen_jid(minion.opts), "fun": function, "fun_args": arguments}
        positional, named = salt.minion.load_args_and_kwargs(wanted, arguments, job)
        return wanted(*positional, **named)

    return lambda job: in_a_child(lambda: answered(call, job))


def answered(call, job):
    """Return what a job found, and the error where there was one."""
    try:
        return [call(**job), ""]
    except Exception as error:  # who gave the job says so
        return [None, f"{type(error).__name__}: {error}"]


def in_a_child(answer):
    """Return what is answered by a process of its own: it takes with it all that it has loaded."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        with os.fdopen(writer, "w") as out:
            json.dump(answer(), out, default=str)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        text = said.read()
    os.waitpid(child, 0)
    return json.loads(text or '[null, "it ended without an answer"]')


def serve(answer, out):
    """Answer jobs until standard input ends."""
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line)), default=str), file=out, flush=True)


if __name__ == "__main__":
    kept = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Salt prints is no answer
    serve({"master": master, "local": local}[sys.argv[1]](), kept)
