"""
Putting Pods that wait for a pull which Harbor can't serve back to their original image.

`pod` says what of a Pod matters, `plan` which containers are restored now and why, `patch` how,
`evidence` which images are left alone from now on.  They are pure.  `loop` does it.
"""
