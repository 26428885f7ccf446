"""HTTP clients of other languages with their default settings: POST with a body, and then a GET on the same client."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.services import Services
from tests.support.stack import Stack
from tests.support.task_client import BODY
from tests.support.tools import needs_program

SECONDS = 180  # a compiler on a busy machine
# Each prints the statuses of a POST and of a GET.
JAVA = """
import java.net.URI;
import java.net.http.*;

public class Client {
    public static void main(String[] given) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (String method : new String[] {"POST", "GET"}) {
            HttpRequest.BodyPublisher body = method.equals("POST")
                ? HttpRequest.BodyPublishers.ofString(given[2]) : HttpRequest.BodyPublishers.noBody();
            HttpRequest request = HttpRequest.newBuilder(URI.create(given[0])).header("Authorization", given[1])
                .header("Content-Type", "application/json").method(method, body).build();
            System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode());
        }
    }
}
"""
NODE = """
const [url, token, body] = process.argv.slice(2);
const headers = {Authorization: token, "Content-Type": "application/json"};
const ask = (options, body) => new Promise((resolve, reject) => {
  require("http").request(url, options, (answer) => answer.resume().on("end", () => resolve(answer.statusCode)))
    .on("error", reject).end(body);
});
(async () => {
  for (const [method, content] of [["POST", body], ["GET", undefined]]) {
    console.log((await fetch(url, {method, headers, body: content})).status);
    console.log(await ask({method, headers}, content));
  }
})();
"""
GO = """
package main

import (
    "fmt"
    "net/http"
    "os"
    "strings"
)

func main() {
    for _, method := range []string{"POST", "GET"} {
        body := ""
        if method == "POST" {
            body = os.Args[3]
        }
        request, _ := http.NewRequest(method, os.Args[1], strings.NewReader(body))
        request.Header.Set("Authorization", os.Args[2])
        request.Header.Set("Content-Type", "application/json")
        answer, failure := http.DefaultClient.Do(request)
        if failure != nil {
            fmt.Println(failure)
            os.Exit(1)
        }
        fmt.Println(answer.StatusCode)
    }
}
"""


@pytest.fixture(scope="module")
def stack(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(services, tmp_path_factory.mktemp("clients")) as started:
        started.server()
        yield started


class Caller:
    """What a program is told: the URL, the value of Authorization, a task."""

    def __init__(self, stack: Stack, directory: Path) -> None:
        self.directory = directory
        self.given = [f"{stack.url}/api/v1/tasks/", stack.api().headers["Authorization"], json.dumps(BODY)]

    def run(self, command: list[str], source: tuple[str, str] | None = None) -> list[str]:
        """The words that the program prints; `source` is written to a file first."""
        if source is not None:
            (self.directory / source[0]).write_text(source[1], encoding="utf-8")
        caches = {"GOCACHE": str(self.directory / "cache"), "GOFLAGS": "-mod=mod", "HOME": str(self.directory)}
        done = subprocess.run(
            command, cwd=self.directory, env=os.environ | caches, capture_output=True, text=True, timeout=SECONDS,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.split()


@pytest.fixture
def caller(stack: Stack, tmp_path: Path) -> Caller:
    return Caller(stack, tmp_path)


@needs_program("curl")
@pytest.mark.parametrize("options", [[], ["--http2"], ["--http1.0"], ["-H", "Transfer-Encoding: chunked"]])
def test_curl(caller: Caller, options: list[str]) -> None:
    url, token, task = caller.given
    shown = ["-s", "-o", "answer", "-w", "%{http_code} ", "-H", f"Authorization: {token}"]
    post = ["curl", *options, *shown, "-H", "Content-Type: application/json", "-d", task, url]
    assert caller.run([*post, "--next", *options, *shown, url]) == ["201", "200"]


@needs_program("curl")
def test_curl_waits_for_100_continue_before_a_large_body(caller: Caller) -> None:
    url, token, task = caller.given
    (caller.directory / "body").write_text(" " * 1_500_000 + task, encoding="utf-8")
    command = ["curl", "-s", "-v", "-w", "%{http_code}", "-o", "answer", "-H", f"Authorization: {token}", "-H", "Expect: 100-continue",
               "-H", "Content-Type: application/json", "--data-binary", "@body", url]  # fmt: skip
    assert caller.run(command) == ["201"]


@needs_program("javac")
def test_java(caller: Caller) -> None:
    assert caller.run(["java", "Client.java", *caller.given], ("Client.java", JAVA)) == ["201", "200"]


@needs_program("node")
def test_node(caller: Caller) -> None:
    assert caller.run(["node", "client.js", *caller.given], ("client.js", NODE)) == ["201", "201", "200", "200"]


@needs_program("go")
def test_go(caller: Caller) -> None:
    assert caller.run(["go", "run", "client.go", *caller.given], ("client.go", GO)) == ["201", "200"]
