"""What a program in a container sees: run by the tests' interpreter, there. One line of JSON.

python -I inside.py WORD...     sdk, allowed, denied, nested
"""

import glob
import json
import os
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

NEST = "/tmp/nest"


def sdk() -> object:
    """The OpenAI SDK as it is, against inference.local: nothing is configured but the base URL."""
    from openai import OpenAI

    client = OpenAI(base_url="https://inference.local/v1", api_key="unused", max_retries=0)
    messages = [{"role": "user", "content": "hello"}]
    answer = client.chat.completions.create(model="any", messages=messages)  # type: ignore[arg-type]
    return answer.choices[0].message.content


def allowed() -> object:
    with urllib.request.urlopen("https://api.example.com/hello", timeout=20) as answer:
        return answer.status


def denied() -> object:
    began = time.monotonic()
    try:
        urllib.request.urlopen("https://evil.example.com/", timeout=20)
    except urllib.error.URLError as error:
        return {"error": str(error.reason), "seconds": time.monotonic() - began}
    return {"error": None}


def nested() -> object:
    """As an image is built: a root of its own, no environment, and what a builder copies."""
    curl = shutil.which("curl", path="/usr/bin")
    assert curl is not None
    (loader,) = glob.glob("/lib64/ld-linux-*.so.*")
    lines = subprocess.run([loader, "--list", curl], capture_output=True, text=True, check=True)
    libraries = [word for word in lines.stdout.split() if word.startswith("/")]
    libraries += [*glob.glob("/usr/lib/*-linux-gnu/libnss_*"), loader]
    bundle = ssl.get_default_verify_paths().openssl_cafile
    usual = "/etc/ssl/certs/ca-certificates.crt"
    for path in [curl, *libraries, "/etc/resolv.conf", "/etc/hosts", usual, bundle]:
        if os.path.exists(path):
            os.makedirs(NEST + os.path.dirname(path), exist_ok=True)
            shutil.copy(path, NEST + path)
    done = subprocess.run(
        ["/usr/sbin/chroot", NEST, curl, "-sS", "https://inference.local/v1/models"],
        env={}, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    return done.stdout[:40] if done.returncode == 0 else done.stderr


if __name__ == "__main__":
    print(json.dumps({word: globals()[word]() for word in sys.argv[1:]}))
