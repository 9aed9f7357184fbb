"""Owns: looking into a container's root file system as the container will see it.

What is in there is its image's choice: a link to /etc/shadow must be the container's, never the
host's. So every path is walked by descriptors, links within the root, and nothing is opened before
it is known to be a plain file.
"""

import os
import stat

MAX_LINKS = 40  # as the kernel (path_resolution(7))
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Rootfs:
    """A container's root directory, before the container runs. Close it."""

    def __init__(self, path: str) -> None:
        self._root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._root)

    def find(self, path: str) -> str | None:
        """Where a path leads, without links; None where there is nothing."""
        found = self._walk(path)
        if found is None:
            return None
        os.close(found[0])
        return found[1]

    def read(self, path: str, most: int) -> bytes | None:
        """A plain file's content; None where there is none, or more of it than `most` bytes."""
        found = self._walk(path)
        if found is None:
            return None
        handle = found[0]
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return None
            with open(f"/proc/self/fd/{handle}", "rb") as file:
                content = file.read(most + 1)
            return content if len(content) <= most else None
        finally:
            os.close(handle)

    def place(self, path: str) -> int:
        """A descriptor (O_PATH) of the file at a path, which is made, empty, where it is not there.

        Raises:
            OSError: something on the way is no directory, or cannot be made.
        """
        found = self._walk(path)
        if found is not None:
            return found[0]
        *parents, name = [word for word in path.split("/") if word]
        for count in range(len(parents)):
            self._make("/".join(parents[:count]), parents[count], directory=True)
        self._make("/".join(parents), name, directory=False)
        made = self._walk(path)
        if made is None:
            raise FileNotFoundError(2, "a link that leads nowhere", path)
        return made[0]

    def _make(self, parent: str, name: str, *, directory: bool) -> None:
        found = self._walk(parent)
        if found is None:
            raise FileNotFoundError(2, "a link that leads nowhere", parent)
        where = found[0]
        try:
            if directory:
                os.mkdir(name, 0o755, dir_fd=where)
            else:
                flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
                os.close(os.open(name, flags, 0o644, dir_fd=where))
        except FileExistsError:
            pass  # a directory on the way, or a link; what it leads to is seen next
        finally:
            os.close(where)

    def _walk(self, path: str) -> tuple[int, str] | None:
        """A descriptor (O_PATH) of what a path leads to, and its path without links."""
        trail, names, links = [os.dup(self._root)], [""], 0
        pending = path.split("/")[::-1]
        try:
            while pending:
                word = pending.pop()
                if word == ".." and len(trail) > 1:
                    os.close(trail.pop())
                    names.pop()
                if word in ("", ".", ".."):
                    continue
                handle = os.open(word, _PATH, dir_fd=trail[-1])
                if not stat.S_ISLNK(os.fstat(handle).st_mode):
                    trail.append(handle)
                    names.append(word)
                    continue
                target = os.readlink("", dir_fd=handle)
                os.close(handle)
                links += 1
                if links > MAX_LINKS:
                    return None
                if target.startswith("/"):
                    while len(trail) > 1:
                        os.close(trail.pop())
                        names.pop()
                pending += target.split("/")[::-1]
            return trail.pop(), "/".join(names) or "/"
        except (FileNotFoundError, NotADirectoryError):
            return None
        finally:
            for handle in trail:
                os.close(handle)
