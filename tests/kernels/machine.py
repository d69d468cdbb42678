"""An emulated machine that runs another kernel over this machine's files, which it sees but cannot change."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from packages import Kernel, output

HERE = Path(__file__).parent
#: What the first program needs before it sees the files.
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
#: What packs modules.
PACKED = {".xz": "xz", ".zst": "zstd"}
#: The kernel's parameters: what costs an emulated machine time is left out, and a panic ends it.
PARAMETERS = (
    "console=ttyS0 panic=-1 random.trust_cpu=on tsc=reliable clocksource=tsc mitigations=off init_on_alloc=0"
    " audit=0 apparmor=0 nowatchdog"
)
#: The emulator's exit code for an exit code of the command.
EXIT_CODES = {2 * code + 1: code for code in range(128)}


def memory_files(kernel: Kernel, folder: Path, script: str) -> Path:
    """The files that the machine starts with."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "bin").mkdir(parents=True)
    (folder / "modules").mkdir()
    shutil.copy("/bin/busybox", folder / "bin/busybox")
    shutil.copy(HERE / "init", folder / "init")
    order = dict.fromkeys(path for name in MODULES for path in kernel.module(name))
    names = [path.name.removesuffix(path.suffix if path.suffix in PACKED else "") for path in order]
    for path, name in zip(order, names, strict=True):
        tool = PACKED.get(path.suffix, "cat")
        options = ["-dc"] if tool != "cat" else []
        (folder / "modules" / name).write_bytes(
            subprocess.run([tool, *options, str(path)], capture_output=True, check=True).stdout
        )
    (folder / "modules/order").write_text("".join(f"{name}\n" for name in names))
    (folder / "modules/folder").write_text(f"{kernel.modules}\n")
    (folder / "script").write_text(script)
    packed = folder.with_suffix(".cpio")
    listed = output("find", ".", cwd=folder)
    with packed.open("wb") as file:
        subprocess.run(
            ["cpio", "--create", "--format=newc", "--quiet"], cwd=folder, input=listed.encode(), stdout=file, check=True
        )
    return packed


def emulator(kernel: Kernel, files: Path, console: Path) -> list[str]:
    """The command that starts the machine."""
    command = (
        "qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 3G -nodefaults -no-user-config -display none"
    )
    command += " -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=1 -device virtio-9p-pci,fsdev=host,mount_tag=host"
    command += " -fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"
    start = ["-kernel", str(kernel.image), "-initrd", str(files), "-append", PARAMETERS]
    return [*shlex.split(command), *start, "-serial", f"file:{console}", "-serial", "stdio"]


def lines(kernel: Kernel, folder: Path, script: str, limit: int) -> Iterator[str | int]:
    """Run a shell script under a kernel: what it writes, line by line, and its exit code at the end.

    Without one, since the machine came to no end of its own, that is 255. The machine ends after `limit` seconds at
    most. What its kernel says is in `console.log` of the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = memory_files(kernel, folder / "files", script)
    command = ["timeout", str(limit), "nice", "-n", "5", *emulator(kernel, files, folder / "console.log")]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
    ) as machine:
        try:
            assert machine.stdout is not None
            for line in machine.stdout:
                yield line.rstrip("\r\n")
        finally:
            machine.terminate()
    yield EXIT_CODES.get(machine.returncode, 255)
