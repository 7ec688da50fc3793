"""The part of the Hugging Face Hub's HTTP interface that datasets need, on this machine."""

import base64
import contextlib
import hashlib
import json
import threading

from flask import Flask, Response, abort, jsonify, request
from werkzeug.serving import make_server


class FakeHub:
    """Repositories of datasets in memory; a commit is a dictionary of files.

    Attributes:
        endpoint: Where it listens.
        commits: By repository, those of its branch, oldest first: (hash, files).
        tags: By repository, the hash of each.
        requests: Paths of what was asked for.
        refused: The status that writing is answered with; None accepts it.
    """

    def __init__(self):
        self.commits, self.tags, self.requests, self.refused = {}, {}, [], None
        app = Flask("hub")
        app.before_request(lambda: self.requests.append(f"{request.method} {request.path}"))
        self._routes(app)
        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self.endpoint = f"http://127.0.0.1:{self._server.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()

    def commit(self, repo, files):
        """A new commit with these files (path -> bytes, None deletes) beside the earlier ones."""
        before = self.commits.setdefault(repo, [])
        merged = {**(before[-1][1] if before else {}), **files}
        merged = {path: content for path, content in merged.items() if content is not None}
        text = repr((len(before), sorted(merged.items())))
        before.append((hashlib.sha1(text.encode()).hexdigest(), merged))
        return before[-1][0]

    def add_directory(self, repo, root):
        files = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*.*")}
        return self.commit(repo, files)

    def _found(self, repo, revision):
        if repo not in self.commits:
            error = Response("Repository Not Found", 404)
            error.headers["X-Error-Code"] = "RepoNotFound"
            abort(error)
        revision = self.tags.get(repo, {}).get(revision, revision)
        for sha, files in reversed(self.commits[repo]):
            if revision in ("main", sha):
                return sha, files
        error = Response("Revision Not Found", 404)
        error.headers["X-Error-Code"] = "RevisionNotFound"
        return abort(error)

    def _check_writing(self):
        if self.refused is not None:
            abort(Response("no", self.refused))

    def _routes(self, app):
        @app.get("/api/datasets/<path:repo>/revision/<revision>")
        def info(repo, revision):
            sha, files = self._found(repo, revision)
            siblings = [{"rfilename": path} for path in files]
            return jsonify({"id": repo, "sha": sha, "siblings": siblings, "tags": []})

        @app.get("/api/datasets/<path:repo>/tree/<revision>")
        def tree(repo, revision):
            _, files = self._found(repo, revision)
            return jsonify(
                [
                    {"type": "file", "path": path, "size": len(content), "oid": oid(content)}
                    for path, content in files.items()
                ]
            )

        @app.route("/datasets/<path:repo>/resolve/<revision>/<path:path>", methods=["GET", "HEAD"])
        def resolve(repo, revision, path):
            # The first two parts are the repository; Flask takes as many as it can.
            sha, files = self._found(repo, revision)
            if path not in files:
                abort(404)
            response = Response(files[path], mimetype="application/octet-stream")
            response.headers |= {"X-Repo-Commit": sha, "ETag": f'"{oid(files[path])}"'}
            return response

        @app.get("/api/datasets/<path:repo>/refs")
        def refs(repo):
            sha, _ = self._found(repo, "main")
            tags = [
                {"name": name, "ref": f"refs/tags/{name}", "targetCommit": target}
                for name, target in self.tags.get(repo, {}).items()
            ]
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": sha}
            return jsonify({"branches": [main], "tags": tags, "converts": []})

        @app.post("/api/repos/create")
        def create():
            self._check_writing()
            made = request.json
            repo = f"{made['organization']}/{made['name']}"
            if repo in self.commits:
                return jsonify({"error": "exists", "url": f"{self.endpoint}/datasets/{repo}"}), 409
            self.commit(repo, {".gitattributes": b""})
            return jsonify({"url": f"{self.endpoint}/datasets/{repo}"})

        @app.post("/api/validate-yaml")
        def validate():
            return jsonify({"errors": [], "warnings": []})

        @app.post("/api/datasets/<path:repo>/preupload/<revision>")
        def preupload(repo, revision):
            modes = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in request.json["files"]
            ]
            return jsonify({"files": modes})

        @app.post("/api/datasets/<path:repo>/commit/<revision>")
        def commit(repo, revision):
            self._check_writing()
            files = {}
            for line in request.get_data().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
                elif entry["key"] == "deletedFile":
                    files[entry["value"]["path"]] = None
            sha = self.commit(repo, files)
            url = f"{self.endpoint}/datasets/{repo}/commit/{sha}"
            return jsonify({"commitUrl": url, "commitOid": sha, "success": True})

        @app.post("/api/datasets/<path:repo>/tag/<revision>")
        def tag(repo, revision):
            name = request.json["tag"]
            if name in self.tags.setdefault(repo, {}):
                return jsonify({"error": "exists"}), 409
            self.tags[repo][name] = self._found(repo, revision)[0]
            return jsonify({})

        @app.delete("/api/datasets/<path:repo>/tag/<name>")
        def untag(repo, name):
            del self.tags[repo][name]
            return jsonify({})


def oid(content):
    """As git names a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextlib.contextmanager
def running_hub(monkeypatch, cache):
    """A server that the client of this process takes for the Hub, with a cache of its own."""
    from huggingface_hub import constants

    server = FakeHub()
    # As the environment variable HF_ENDPOINT does, before the client is imported.
    template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    try:
        yield server
    finally:
        server.stop()
