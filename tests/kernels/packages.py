"""Kernels as Debian packages: apt fetches them, and nothing of them is installed."""

from __future__ import annotations

import subprocess
from pathlib import Path

MIRROR = "http://deb.debian.org/debian"
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
#: The package that stands for a release's newest kernel, and what of its dependencies is the kernel.
NEWEST = "linux-image-amd64"
PARTS = ("linux-base-", "linux-binary-", "linux-image-", "linux-modules-")
#: How a packed kernel may begin, and what unpacks it.
PACKED = (
    (b"\xfd7zXZ\x00", ["xz", "--decompress", "--stdout", "--single-stream"]),
    (b"\x28\xb5\x2f\xfd", ["zstd", "-dc"]),
)
ELF = b"\x7fELF"


def output(*command: str, cwd: Path | None = None) -> str:
    """What a command writes."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


class Archive:
    """The packages of one release, which this machine's own apt knows nothing of."""

    def __init__(self, folder: Path, release: str) -> None:
        self.folder = folder
        for name in ("lists/partial", "cache/archives/partial", "packages"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        sources = folder / "sources.list"
        sources.write_text(f"deb [arch=amd64 signed-by={KEYS}] {MIRROR} {release} main\n")
        # Nothing counts as installed.
        (folder / "status").touch()
        places = {
            "Dir::Etc::sourcelist": sources,
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": folder / "lists",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "APT::Sandbox::User": "root",
            "Acquire::Retries": 3,
        }
        self.options = [word for name, value in places.items() for word in ("-o", f"{name}={value}")]

    def parts(self, name: str) -> list[str]:
        """The packages that make up a kernel, by the package that stands for it."""
        lines = output("apt-cache", *self.options, "depends", "--important", name).splitlines()
        depends = [line.split()[-1] for line in lines if line.strip().startswith("Depends: ")]
        parts = [part for part in depends if part.startswith(PARTS) and part != name]
        return list(dict.fromkeys(part for found in parts for part in (found, *self.parts(found))))

    def fetch(self) -> list[Path]:
        """Download the newest kernel, unless it is there."""
        output("apt-get", *self.options, "-qq", "update")
        output(
            "apt-get",
            *self.options,
            "--quiet",
            "--quiet",
            "download",
            *self.parts(NEWEST),
            cwd=self.folder / "packages",
        )
        return sorted((self.folder / "packages").glob("*.deb"))


class Kernel:
    """A kernel's files, unpacked: `image`, which an emulator starts at once, and its modules."""

    def __init__(self, root: Path) -> None:
        self.base = root / "usr" if (root / "usr/lib/modules").exists() else root
        self.modules = self.base / "lib/modules"
        self.image = root / "vmlinux"
        self.version = next(self.modules.iterdir()).name

    @classmethod
    def newest(cls, folder: Path, release: str) -> Kernel:
        """The newest kernel of a release, in a folder of its own."""
        root, done = folder / "root", folder / ".unpacked"
        if not done.exists():
            for package in Archive(folder, release).fetch():
                output("dpkg-deb", "--extract", str(package), str(root))
            kernel = cls(root)
            output("depmod", "-b", str(kernel.base), kernel.version)
            # The newest packages have the image beside its modules.
            images = [*(root / "boot").glob("vmlinuz-*"), *kernel.modules.glob("*/vmlinuz")]
            kernel.image.write_bytes(unpacked(images[0].read_bytes()))
            done.touch()
        return cls(root)

    def module(self, name: str) -> list[Path]:
        """The files of a module and of all that it needs, in the order in which they are loaded."""
        lines = output("modprobe", "-d", str(self.base), "-S", self.version, "--show-depends", name).splitlines()
        return [Path(line.split()[1]) for line in lines if line.startswith("insmod ")]


def unpacked(image: bytes) -> bytes:
    """The kernel in an image that unpacks itself, which takes an emulated machine ten seconds."""
    for magic, command in PACKED:
        at = -1
        while (at := image.find(magic, at + 1)) >= 0:
            kernel = subprocess.run(command, input=image[at:], capture_output=True, check=False).stdout
            if kernel.startswith(ELF):
                return kernel
    raise ValueError("the image holds no kernel that could be unpacked")
