"""Stands for Prometheus: reads its configuration, scrapes each target, and tells on :9090 whether each was up."""

import http.server
import json
import threading
import time
import urllib.request
from pathlib import Path

import yaml

CONFIG = yaml.safe_load(Path("/etc/prometheus/prometheus.yml").read_text())
UP: dict[str, str] = {}


def scrape(job: dict, target: str) -> None:
    token = Path(job["authorization"]["credentials_file"]).read_text().strip()
    asked = urllib.request.Request(f"http://{target}/metrics", headers={"Authorization": f"Bearer {token}"})
    while True:
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:
                UP[target] = answer.read().decode()
        except OSError as error:
            UP[target] = f"down: {error}"
        time.sleep(1)


class Told(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(UP).encode())


for job in CONFIG["scrape_configs"]:
    for target in job["static_configs"][0]["targets"]:
        threading.Thread(target=scrape, args=(job, target), daemon=True).start()
http.server.ThreadingHTTPServer(("", 9090), Told).serve_forever()
