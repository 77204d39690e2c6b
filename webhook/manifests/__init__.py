"""
Manifests in, manifests out, with nothing changed but images.

The text is never written anew: the images' places are found in it, and only these are replaced.
So comments, order, quoting, anchors, indentation and line endings can't change.
"""

from webhook.manifests.rewriting import Change, Path, Rewritten, parse_path, rewrite_text


__all__ = ["Change", "Path", "Rewritten", "parse_path", "rewrite_text"]
