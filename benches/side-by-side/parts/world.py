"""What a comparison runs in: free ports, a temporary folder, processes pinned to cores, and what the
kernel says of them. Everything started here ends with `World.close`, and with this process in any case."""
import ctypes
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
REPOSITORY = HERE.parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1
FILES = 65_536
LIBC = ctypes.CDLL(None)


class Failure(Exception):
    """Something that the person at the keyboard has to know; the message says what to do."""


class World:
    def __init__(self, proxy_cores, load_cores):
        self.proxy_cores, self.load_cores = proxy_cores, load_cores
        self.folder = Path(tempfile.mkdtemp(prefix="side-by-side-"))
        self.folder.chmod(0o755)  # workers of nginx and Apache that gave up root read below it
        self.processes = []
        self.next_port = 20_000 + os.getpid() % 1_000 * 12
        self.files = enough_files()

    def port(self):
        """A port that nothing listens on, below those that outgoing connections take."""
        for _ in range(12_000):
            self.next_port = 20_000 + (self.next_port + 1) % 12_000
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", self.next_port))
                    return self.next_port
                except OSError:
                    continue
        raise Failure("no port between 20000 and 32000 is free")

    def place(self, name):
        """A folder below the temporary one."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        return folder

    def template(self, name, target, **values):
        """Writes conf/NAME with @KEY@ replaced."""
        text = (HERE / "conf" / name).read_text()
        for key, value in values.items():
            text = text.replace(f"@{key.upper()}@", str(value))
        target.write_text(text)
        return target

    def start(self, command, cores, name, **options):
        """Starts a process on these cores; what it says goes to NAME.log in the temporary folder."""
        parent = os.getpid()

        def prepare():
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            os.sched_setaffinity(0, cores)
            if os.getppid() != parent:
                os._exit(1)

        log = open(self.folder / f"{name}.log", "ab")  # appending, so that it can be cut short between cells
        options = {"stdout": log, "stderr": log, "stdin": subprocess.DEVNULL} | options
        process = subprocess.Popen(
            [str(word) for word in command], preexec_fn=prepare, start_new_session=True, **options)
        self.processes.append(process)
        return process

    def wait_for_port(self, port, process, name, seconds=30):
        for _ in range(seconds * 50):
            if process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        log = self.folder / f"{name}.log"
        tail = log.read_text(errors="replace")[-2_000:] if log.exists() else ""
        raise Failure(f"{name} does not listen on port {port}\n{tail}")

    def stop(self, process):
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process in self.processes:
            self.processes.remove(process)

    def close(self):
        for process in reversed(list(self.processes)):
            self.stop(process)
        shutil.rmtree(self.folder, ignore_errors=True)


def enough_files():
    """Raises the limit on open files as far as this user may, and says what it is."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = hard if hard == resource.RLIM_INFINITY else max(hard, FILES)
    for limit in (wanted, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return limit
        except (ValueError, PermissionError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def tree(pid):
    """A process and its descendants."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [below for child in children.read_text().split() for below in tree(int(child))]
        except OSError:
            continue
    return found


def cpu(pid):
    """Seconds of (user, system) time of a process tree so far."""
    user = system = 0
    for each in tree(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        user, system = user + int(fields[11]), system + int(fields[12])
    return user / TICKS, system / TICKS


def pss(pid):
    """Proportional set size of a process tree, in MB (10^6 bytes)."""
    total = 0
    for each in tree(pid):
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024 / 1e6
