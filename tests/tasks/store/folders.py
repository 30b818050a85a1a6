"""Folders to publish, and a look below a store on a file system."""

from pathlib import Path

from tasks.store.artifacts import ArtifactRef, Store


def make_folder(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def publish(store: Store, folder: Path, text: str, kind: str = "model") -> ArtifactRef:
    return store.publish(kind, make_folder(folder / text, {"data": text.encode()}), metadata={"text": text})


def files_in(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def stored(store: Store, ref: ArtifactRef, name: str) -> Path:
    path = store.objects.local_path(f"{ref.path}/{name}")
    assert path is not None
    return path


def everything_in(store: Store) -> list[str]:
    return [found.path for found in store.objects.walk("")]


def flip_a_byte(path: Path) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
