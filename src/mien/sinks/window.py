"""A window that shows annotated frames as they come, by Python's Tk, because headless OpenCV has no windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image

from mien.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from jaxtyping import UInt8

TITLE = "mien - press q to stop"
LONGEST_PX = 1280


class Window:
    """One window; only the thread that opened it may use it. Closing it, q or Escape calls `stop`."""

    def __init__(self, stop: Callable[[], None]) -> None:
        """Open it.

        Raises:
            ConfigError: there is no screen, or this Python has no Tk.
        """
        try:
            import tkinter
        except ModuleNotFoundError as error:
            raise ConfigError(
                "`window` needs Tk, which this Python lacks (on Debian and Ubuntu: apt install python3-tk)"
            ) from error
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise ConfigError(f"`window` needs a screen: {error}; without one, use `out`") from error
        self._stop = stop
        self._shown: Any = None
        self._root.title(TITLE)
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        for key in ("q", "<Escape>"):
            self._root.bind(key, lambda _: self._end())
        self._root.protocol("WM_DELETE_WINDOW", self._end)
        self._is_open = True

    def show(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> None:
        """Show a picture; large ones are made smaller."""
        from PIL import ImageTk

        if not self._is_open:
            return
        image = Image.fromarray(image_rgb_u8)
        image.thumbnail((LONGEST_PX, LONGEST_PX))
        self._shown = ImageTk.PhotoImage(image, master=self._root)
        self._label.configure(image=self._shown)
        self._root.update()

    def close(self) -> None:
        """Close it."""
        if self._is_open:
            self._is_open = False
            self._shown = None
            self._root.destroy()

    def _end(self) -> None:
        self._stop()
        self.close()
