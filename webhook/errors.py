"""
What can go wrong, as one tree.

- `HarborCacheError`: the root; the command line turns it into one line and exit code 1.

  - `ConfigError`: the config file can't be read or says something it must not.
  - `InvalidReferenceError`: a string is no image reference.
  - `InvalidReviewError`: a request is no AdmissionReview that could be answered.
  - `ManifestError`: a manifest can't be read.
  - `HarborError`: Harbor, or what answers in its place, did not do what was asked.
  - `QuarantineError`: the quarantine file says nothing that can be used.
  - `RecoveryError`: a Pod can't be restored to its original image as planned.
  - `ClusterError`: the API server did not do what was asked, or can't be reached.
  - `RenderError`: files can't be written out.
  - `SmokeError`: a cluster does not rewrite images as the config says it should.
  - `CertificateError`: a certificate or key can't be used.

Nothing in this tree ever reaches an API server as a refusal.
"""


class HarborCacheError(Exception):
    """
    The root of all errors that this package raises on purpose.
    """


class ConfigError(HarborCacheError):
    """
    The config file can't be read, has an unknown key, or a value that can't be used.

    The message names the path of every offending key, one line each.
    """


class InvalidReferenceError(HarborCacheError, ValueError):
    """
    A string is no image reference by the grammar of `distribution/reference`.
    """


class InvalidReviewError(HarborCacheError, ValueError):
    """
    A request can't be identified as an AdmissionReview, so no answer can carry its uid.

    The API server takes the HTTP error that follows as a failed call, and admits the Pod.
    """


class HarborError(HarborCacheError):
    """
    A call to Harbor failed, or something that is no Harbor answered.

    Attributes:
        cause: why, in one word of a closed list (see `webhook.harbor.client.Cause`).
    """

    def __init__(self, message: str, cause: str = "internal-error") -> None:
        super().__init__(message)
        self.cause = cause


class QuarantineError(HarborCacheError):
    """
    The quarantine file is not of the form that the controller writes.
    """


class RecoveryError(HarborCacheError):
    """
    A patch that restores a Pod does not fit the Pod any more, or does more than it should.
    """


class ClusterError(HarborCacheError):
    """
    A call to the API server failed, or it can't be reached.

    Attributes:
        status: the HTTP status, or 0 where there was no answer.
        detailed: the answer says which object it is about: a refusal on the merits does, a JSON
            Patch whose ``test`` failed does not.
        late: no answer came in time; what was asked for may still be done.
    """

    def __init__(
        self, message: str, status: int = 0, *, detailed: bool = False, late: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.detailed = detailed
        self.late = late


class SmokeError(HarborCacheError):
    """
    Images of a Pod do not become in a cluster what the config says; the message says why.
    """


class ManifestError(HarborCacheError):
    """
    A manifest is neither YAML nor JSON; the message names line and column.
    """


class RenderError(HarborCacheError):
    """
    Files for the VM or the nodes can't be written out; none of them was.
    """
