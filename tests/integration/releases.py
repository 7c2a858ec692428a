"""Servers of earlier releases, built from the repository's history and kept in .cache/releases."""
import fcntl
import os
import shutil
import subprocess

from harness import ROOT


def last():
    """(version, commit) of the last release."""
    with open(os.path.join(ROOT, "tests", "releases")) as f:
        return [line.split() for line in f if line.strip() and not line.startswith("#")][-1]


def binary():
    """Path of the last release's server, or None where the history does not have it."""
    version, commit = last()
    cache = os.path.join(ROOT, ".cache", "releases")
    os.makedirs(cache, exist_ok=True)
    path = os.path.join(cache, f"trireme-{version}-{commit}")
    with open(path + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several processes of a test run want it
        if not os.path.exists(path):
            known = subprocess.run(["git", "-C", ROOT, "cat-file", "-e", commit + "^{commit}"], capture_output=True)
            if known.returncode != 0:
                return None
            _build(commit, path)
    return path


def _build(commit, path):
    source = path + ".source"
    shutil.rmtree(source, ignore_errors=True)
    os.makedirs(source)
    archive = subprocess.run(["git", "-C", ROOT, "archive", commit], capture_output=True, check=True, timeout=60)
    subprocess.run(["tar", "-x", "-C", source], input=archive.stdout, check=True, timeout=60)
    # not what a sanitizer build says in its environment
    env = {k: v for k, v in os.environ.items() if k not in ("CFLAGS", "LDFLAGS")}
    for command in (["cmake", "--preset", "release"], ["cmake", "--build", "build", "--target", "trireme"]):
        done = subprocess.run(command, cwd=source, env=env, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, f"{commit}: {command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    shutil.copy2(os.path.join(source, "build", "bin", "trireme"), path + ".new")
    os.rename(path + ".new", path)
    shutil.rmtree(source)
