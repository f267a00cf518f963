"""What tunnels lead to: nginx for downloads and small requests, loadgen's sink for uploads."""
from processes import Process, wait_for_port
from workshop import HERE, ORIGIN_PORT, ORIGIN_TLS_PORT, SINK_PORT, fill


class Origin:
    """Runs from construction to `stop`, in a network namespace if one is given."""

    def __init__(self, workshop, namespace=None):
        template = (HERE / "configs" / "nginx" / "nginx.conf").read_text()
        configuration = workshop.work / "nginx.conf"
        configuration.write_text(fill(template, {
            "WORK": workshop.work, "WWW": workshop.www, "BIND_IP": "127.0.0.1",
            "ORIGIN_PORT": ORIGIN_PORT, "ORIGIN_TLS_PORT": ORIGIN_TLS_PORT,
            "CERT": workshop.certs / "server.pem", "KEY": workshop.certs / "server.key",
        }))
        error_log = workshop.log("nginx-errors")
        self.processes = [
            Process(["nginx", "-c", configuration, "-e", error_log], workshop.log("nginx"), namespace),
            Process([workshop.loadgen, "sink", "--listen", f"127.0.0.1:{SINK_PORT}"], workshop.log("sink"), namespace),
        ]
        for process, port in zip(self.processes, (ORIGIN_PORT, SINK_PORT)):
            wait_for_port(("127.0.0.1", port), process, namespace)

    def stop(self):
        for process in self.processes:
            process.stop(1)
