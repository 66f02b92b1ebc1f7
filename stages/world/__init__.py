"""The embedded world: a small town, its language and the truth about what is said in it."""

from stages.world.world import Document, PromptRow, World

__all__ = ["Document", "PromptRow", "World"]
