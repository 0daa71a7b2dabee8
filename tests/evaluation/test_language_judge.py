"""A language model as a judge: over HTTP as OpenAI's API speaks, with abstentions, keys and failures."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from evaluation.language_judge import LanguageJudge
from evaluation.own_data import Answer, Question, judge_replies, judge_words, mark_of
from evaluation.statistics import Tally
from nextgpt_lite import Reply


class Strict(BaseHTTPRequestHandler):
    """Says yes where the reply is the reference, unsure where the reply is empty, else no."""

    heard: list = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).heard.append((self.path, self.headers.get("Authorization"), body))
        said = dict(line.split(": ", 1) for line in body["messages"][0]["content"].splitlines() if ": " in line)
        verdict = "Unsure" if not said.get("Reply") else "Yes." if said["Reply"] == said["Reference"] else "no"
        answer = json.dumps({"choices": [{"message": {"content": verdict}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def address():
    server = HTTPServer(("127.0.0.1", 0), Strict)
    Strict.heard = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_replies_are_judged_and_abstentions_are_none(address, monkeypatch):
    monkeypatch.setenv("NEXTGPT_JUDGE_KEY", "secret")
    judge = LanguageJudge.parse(f"some/model@{address}")
    asked = [("What is it?", "a bell", reply) for reply in ("a bell", "a drum", "")]
    assert judge.verdicts(asked) == [True, False, None]
    path, key, body = Strict.heard[0]
    assert (path, key, body["model"], body["temperature"]) == ("/v1/chat/completions", "Bearer secret", "some/model", 0)
    assert "secret" not in judge.name + judge.hash


def test_only_words_that_nothing_else_judged_are_put_to_it(address):
    def answer(requested, said, judged=None):
        asked = [{"role": "user", "content": [{"type": "text", "text": "what is it?"}]}]
        media = [{"type": kind} for kind in requested]
        return Answer(Question(asked, "a bell", media), Reply(said), judged=judged)

    answers = [answer([], "a bell"), answer([], "a drum"), answer(["image"], "a bell"), answer([], "x", judged=True)]
    judge_words(answers, LanguageJudge.parse(f"m@{address}"))
    assert [each.judged for each in answers] == [True, False, None, True] and len(Strict.heard) == 2
    assert judge_replies(answers) == {"text->text": Tally(2, 3)}
    assert [mark_of(each) for each in answers] == [True, False, False, True]  # the image did not come


@pytest.mark.parametrize("text", ["llama", "@http://a", "llama@127.0.0.1", "llama@ftp://a"])
def test_an_address_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="must be MODEL@URL"):
        LanguageJudge.parse(text)


@pytest.mark.parametrize("place", ["127.0.0.1:9/v1", "127.0.0.1:port/v1", "127.0.0.1:9/a b"])
def test_an_address_that_does_not_answer_is_one_sentence(place):
    with pytest.raises(ValueError, match="does not answer as OpenAI's API does"):
        LanguageJudge.parse(f"m@http://{place}").verdict("a", "b", "c")


def test_a_server_that_speaks_something_else_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak():
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-something\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        with pytest.raises(ValueError, match="does not answer as OpenAI's API does"):
            LanguageJudge.parse(f"m@http://127.0.0.1:{server.getsockname()[1]}").verdict("a", "b", "c")
        thread.join()
