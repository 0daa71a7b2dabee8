"""The pages of runs refuse whatever is no run, serve reports and nothing else, and are as safe as the page."""

from __future__ import annotations

import html
import os
import re

import pytest
import yaml

from demo.runs.pages import duration, segments
from demo.texts import TEXTS


def test_the_list_and_the_pages_of_runs(finished, visit):
    client = visit(finished)
    listed = client.get("/runs").text
    assert re.findall(r'href="(/runs/of/[^"]*)"', listed) and "instruction_tuning" in listed and "own_data" in listed
    training = client.get("/runs/of/0/stages/tuned").text
    for part in ('id="losses"', 'id="replies"', 'id="rates"', 'id="speed"', 'id="recipe"', "validation", "<polyline"):
        assert part in training
    recipe = re.search(r"<pre>(.*?)</pre>", training, re.DOTALL)
    assert recipe and yaml.safe_load(html.unescape(recipe[1]))["task"] == "instruction_tuning"
    assert 'iframe sandbox src="/runs/report/0/own"' in client.get("/runs/of/0/own").text


def test_pages_are_in_the_language_that_is_asked_for(finished, visit):
    client = visit(finished)
    assert "All runs" in client.get("/runs/of/0/turns").text
    chinese = client.get("/runs/of/0/turns", headers={"Accept-Language": "zh-CN,zh;q=0.9"}).text
    assert "所有运行" in chinese and 'lang="zh"' in chinese
    asked = client.get("/runs/of/0/turns?language=zh&theme=dark").text
    assert 'data-theme="dark"' in asked and 'href="/runs?language=zh&amp;theme=dark"' in asked
    assert client.get('/runs?language="><script>&theme=x').text.count("<script") == 1


@pytest.mark.parametrize("path", ["/runs", "/runs/of/0/turns", "/runs/of/0/stages/tuned", "/runs/of/0/nothing"])
def test_no_english_is_left_in_chinese(finished, visit, path):
    english = {text["en"] for text in TEXTS.values()}
    shown = set(re.findall(r">([^<>]+)<", visit(finished).get(f"{path}?language=zh").text))
    assert len(shown) > 5 and not english & shown


OUTSIDE = [
    "/runs/of/0/", "/runs/of/0/nothing", "/runs/of/1/turns", "/runs/of/-1/turns", "/runs/of/x/turns",
    "/runs/of/0/turns/checkpoint-11", "/runs/of/0/stages", "/runs/of/0/../runs/turns", "/runs/of/0/%2e%2e/secret",
    "/runs/of/0/..%2fsecret", "/runs/of/0/turns/../../secret", "/runs/of/0//etc", "/runs/of/0/%2fetc",
    "/runs/of/0/link",
    "/runs/of/0/turns/%00", "/runs/of/0/turns%00", "/runs/of/0/" + "x" * 5000, "/runs/of/0/" + "x/" * 2000,
    "/runs/report/0/turns", "/runs/report/0/link", "/runs/report/0/../secret", "/runs/report/0/%2e%2e/secret",
    "/runs/report/0/own/report.html", "/runs/report/0/own/samples.jsonl", "/runs/report/5/own",
    "/runs/assets/page.css", "/runs/assets/..%2ftexts.yaml", "/runs/assets/../texts.yaml", "/runs/assets/",
]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
def test_what_is_no_run_is_not_there(runs, visit, path):
    secret = runs.parent / "secret"
    secret.mkdir()
    for name in ("log.jsonl", "run.json", "report.html", "results.json"):
        (secret / name).write_text('{"step": 1, "start": {"recipe": {"task": "secret"}}}\n')
    (runs / "link").symlink_to(secret)
    answer = visit(runs).get(path)
    assert answer.status_code == 404 and "secret" not in answer.text.replace(path, "")


def test_links_pipes_and_devices_are_not_read(runs, visit):
    secret = runs.parent / "secret.html"
    secret.write_text("secret")
    client, report = visit(runs), runs / "own/report.html"
    assert client.get("/runs/report/0/own").status_code == 200
    for make in (
        lambda: report.symlink_to(secret),
        lambda: os.mkfifo(report),
        report.mkdir,
        lambda: os.link(os.devnull, report),
    ):
        report.rmdir() if report.is_dir() else report.unlink(missing_ok=True)
        try:
            make()
        except OSError:  # another file system
            continue
        assert client.get("/runs/report/0/own").status_code == 404
        assert client.get("/runs/of/0/own").status_code == 200
    (runs / "turns/log.jsonl").unlink()
    (runs / "turns/log.jsonl").symlink_to(secret)
    assert "secret" not in client.get("/runs/of/0/turns").text
    (runs / "turns/log.jsonl").unlink()
    os.mkfifo(runs / "turns/log.jsonl")
    assert client.get("/runs/of/0/turns").status_code == 200


def test_nothing_but_reading(finished, visit):
    client = visit(finished)
    for path in ("/runs", "/runs/of/0/own", "/runs/report/0/own", "/runs/assets/runs.css"):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert client.request(method, path).status_code == 405


def test_a_page_may_run_its_own_script_and_a_report_none(finished, visit):
    client = visit(finished)
    for path in ("/runs", "/runs/of/0/own", "/runs/of/0/turns", "/runs/of/0/nothing"):
        policies = client.get(path).headers.get_list("content-security-policy")
        assert len(policies) == 2 and "script-src 'self';" in policies[0] and "default-src 'none'" in policies[0]
        assert not re.search(r"<script(?! src=\"/runs/)| on\w+=|style=", client.get(path).text)
    report = client.get("/runs/report/0/own")
    policy = report.headers.get_list("content-security-policy")[0]
    assert policy.startswith("sandbox; default-src 'none';") and "script" not in policy
    assert report.headers["x-content-type-options"] == "nosniff" and "own data" in report.text


def test_other_hosts_and_origins_are_refused(finished, visit):
    client = visit(finished)
    assert client.get("/runs", headers={"Host": "evil.example"}).status_code == 403
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert client.get("/runs/report/0/own", headers=headers).status_code == 403


def test_names_and_words_are_shown_as_they_are(runs, visit):
    name = "<img src=x onerror=alert(1)>&"
    (runs / "turns").rename(runs / name)
    client = visit(runs)
    listed = client.get("/runs").text
    assert "<img" not in listed and "&lt;img src=x" in listed
    [address] = [each for each in re.findall(r'href="(/runs/of/[^"]*)"', listed) if "img" in each]
    assert client.get(address).status_code == 200 and "<img" not in client.get(address).text


def test_durations():
    said = {
        0.4: "0 s",
        59: "59 s",
        60: "1 min",
        3599: "59 min",
        3600: "1 h 0 min",
        9000: "2 h 30 min",
        90_000: "1 d 1 h",
    }
    assert {seconds: duration(seconds, "en") for seconds in said} == said
    assert duration(9000, "zh") == "2 小时 30 分" and duration(-5, "en") == "0 s"


def test_special_tokens_are_folded():
    text = "<|user|>is 1 < 2 > 0? <audio><audio>Look.<image_00><image_01><video_00>"
    assert segments(text) == [
        ("user", 1), ("is 1 < 2 > 0? ", 0), ("audio", 2), ("Look.", 0), ("image", 2), ("video", 1)
    ]  # fmt: skip
    assert segments("") == []


def test_a_folder_that_is_none_is_said_at_once(tmp_path, capsys):
    from nextgpt_lite.cli import main

    assert main(["demo", "--runs", str(tmp_path / "none"), "--port", "0"]) == 2
    assert "is no folder" in capsys.readouterr().err
