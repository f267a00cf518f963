"""requests through the proxy.

usage: requests_client.py PROXY ORIGIN HTTPS-ORIGIN CA

ORIGIN counts bodies (POST answers with the length) and serves /bytes/N. Prints `ok` at the end.
"""

import sys

import requests

proxy, origin, https_origin, ca = sys.argv[1:5]

session = requests.Session()
session.trust_env = False
session.proxies = {"http": proxy, "https": proxy}
session.verify = ca

for _ in range(5):
    answer = session.get(f"{origin}/bytes/1000", timeout=20)
    assert answer.status_code == 200 and len(answer.content) == 1000, answer

answer = session.head(f"{origin}/bytes/1000", timeout=20)
assert answer.headers["Content-Length"] == "1000" and answer.content == b"", answer.headers

body = bytes(range(256)) * 20000
answer = session.post(f"{origin}/count", data=body, timeout=20)
assert answer.text == str(len(body)), answer.text

answer = session.post(f"{origin}/count", data=(body[i : i + 7000] for i in range(0, len(body), 7000)), timeout=20)
assert answer.text == str(len(body)), answer.text

total = 0
with session.get(f"{origin}/bytes/10000000", stream=True, timeout=20) as answer:
    for part in answer.iter_content(65536):
        total += len(part)
assert total == 10000000, total

for _ in range(3):
    answer = session.get(f"{https_origin}/hello", timeout=20)
    assert answer.text == "hello", answer

refused = session.get("http://169.254.169.254/latest/meta-data/", timeout=20)
assert refused.status_code == 403 and refused.text, refused
try:
    session.get("https://169.254.169.254/", timeout=20)
except requests.exceptions.ProxyError as error:
    assert "403" in str(error), error
else:
    raise AssertionError("a tunnel to the metadata service")

print("ok")
