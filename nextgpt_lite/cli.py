"""``nextgpt-lite``: one command, a subcommand for each use. Each lives in the room that it belongs to."""

import argparse
import importlib
import os
import sys

#: Subcommand -> (module with ``add_arguments(parser)`` and ``run(args) -> int``; what it does). A module may name in
#: ``ERRORS`` which errors say in one sentence what was wrong, where these are not ValueError and OSError, and in
#: ``WORDS`` the list of its arguments that may follow an option too.
#: Modules are imported only when called: ``chat`` must not wait for what ``train`` needs.
COMMANDS = {
    "chat": ("nextgpt_lite.commands.chat", "chat with a model, with media in and out"),
    "demo": ("demo.commands.demo", "open the chat in a browser"),
    "serve": ("demo.commands.serve", "serve an OpenAI-compatible API"),
    "train": ("train.command", "run a training recipe"),
    "evaluate": ("evaluation.command", "measure a model"),
    "compare": ("evaluation.compare", "compare evaluation runs of the same cases"),
    "claims": ("evaluation.claims.command", "run the papers' claims as experiments"),
    "models": ("nextgpt_lite.commands.models", "list models and pretrained parts, fetch parts"),
    "compose": ("nextgpt_lite.commands.compose", "compose a model folder of parts on disk"),
    "import-weights": ("nextgpt_lite.commands.import_weights", "turn published weights into a model folder"),
    "merge": ("nextgpt_lite.commands.merge", "merge an adapter into its language model, positions included"),
    "export": ("nextgpt_lite.commands.export", "export to Transformers and Diffusers folders, with a model card"),
    "bench": ("nextgpt_lite.commands.bench", "measure speed and memory"),
    "cache": ("nextgpt_lite.commands.cache", "collect image prototypes for the visual cache"),
    "toybox": ("nextgpt_lite.commands.toybox", "write samples of the embedded world"),
    "embed": ("train.embeddings.command", "precompute the embeddings of a manifest for training"),
    "import": ("nextgpt_lite.commands.import_dataset", "turn a published data set into a manifest"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand. Bad input ends in one line on stderr and exit code 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        prog="nextgpt-lite", description="Any-to-any multimodal chat, training, evaluation."
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, description) in COMMANDS.items():
        sentence = f"{description[0].upper()}{description[1:]}."
        subparser = subparsers.add_parser(name, help=description, description=sentence)
        if arguments and arguments[0] == name:
            importlib.import_module(module).add_arguments(subparser)
    parsed, more = parser.parse_known_args(arguments)
    command = importlib.import_module(COMMANDS[parsed.command][0])
    if more and (any(word.startswith("-") for word in more) or not hasattr(command, "WORDS")):
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    if more:  # words that follow an option
        getattr(parsed, command.WORDS).extend(more)
    try:
        return command.run(parsed)
    except getattr(command, "ERRORS", (ValueError, OSError)) as error:
        print(f"nextgpt-lite {parsed.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"nextgpt-lite {parsed.command}: interrupted", file=sys.stderr)
        return 130


def process() -> None:
    """:func:`main` as a process of its own."""
    code = main()
    if sys.argv[1:2] == ["chat"]:
        # Python would take torch and transformers apart piece by piece: a second more that a user waits for.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    process()
