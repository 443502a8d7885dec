"""Every name that two deployables must spell alike: stages, tensors, ports, API group.

Read by all; `model_repo/*/config.pbtxt` repeats the tensor names, and a test compares them.
"""

from enum import StrEnum
from typing import Final

API_GROUP: Final = "tercet.dev"
API_VERSION: Final = "v1alpha1"
KIND: Final = "OmniDeployment"
PLURAL: Final = "omnideployments"

LABEL_DEPLOYMENT: Final = f"{API_GROUP}/deployment"
"""On every child: the name of its OmniDeployment."""
LABEL_STAGE: Final = f"{API_GROUP}/stage"
"""On servers and what belongs to them: a stage, or `COLOCATED` for a server that hosts all three."""
LABEL_GENERATION: Final = f"{API_GROUP}/generation"
"""On servers and what belongs to them: the hash of all that makes their pods. States never cross it."""
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "tercet-operator"
"""Value of `LABEL_MANAGED_BY`, and the field manager of all that the operator applies."""
COLOCATED: Final = "omni"
"""Value of `LABEL_STAGE` where one server hosts all the stages."""
GRPC_PORT_NAME: Final = "grpc"
"""The port of a server's Service that the gateway talks to."""
SERVER_CONTAINER: Final = "triton"
"""The container of a server's pod that runs Triton; pod templates change it by this name."""
GPU_RESOURCE: Final = "nvidia.com/gpu"
ROUTES_PATH: Final = "/routes"
"""On the gateway's metrics port: which generations it can route to, as `messages.Routes`."""
TURNS_METRIC: Final = "tercet_stage_turns"
"""Gauge of a Triton server, by model: turns in it, running or waiting. A server drains until all are 0."""

SAMPLE_RATE_HZ: Final = 24_000
"""Rate of the PCM that code2wav makes."""
INPUT_SAMPLE_RATE_HZ: Final = 16_000
"""Rate of the sound that the thinker takes."""
CODES_PER_S: Final = 50
"""Codec tokens in a second of speech; one is 480 samples or 2 mel frames."""
SAMPLES_PER_CODE: Final = SAMPLE_RATE_HZ // CODES_PER_S

GATEWAY_PORT: Final = 8000
GATEWAY_METRICS_PORT: Final = 9400
TRITON_HTTP_PORT: Final = 8100
TRITON_GRPC_PORT: Final = 8101
TRITON_METRICS_PORT: Final = 8102

SETTINGS_DIR_VARIABLE: Final = "TERCET_SETTINGS_DIR"
"""Environment variable: the folder that holds `<stage>.json` (StageSettings) for a Triton server."""
DEFAULT_SETTINGS_DIR: Final = "/etc/tercet"


class Stage(StrEnum):
    """One of the three networks; the value is also the Triton model's name."""

    THINKER = "thinker"
    TALKER = "talker"
    CODE2WAV = "code2wav"


ENSEMBLE: Final = "omni"
"""The Triton ensemble that chains the three stages of a Colocated server."""


class Tensor(StrEnum):
    """Names of the tensors that go in and out of the stages.

    | name      | type  | shape          | meaning |
    | --------- | ----- | -------------- | ------- |
    | SESSION   | BYTES | (1)            | the turn's id; ties the requests of a turn together |
    | TURN      | BYTES | (1)            | `messages.Turn` as JSON; on the first request of a turn |
    | CANCEL    | BOOL  | (1)            | true: end this turn now; no other input is read |
    | PIXELS    | UINT8 | (n)            | all pictures and video frames, RGB, one after the other |
    | SAMPLES   | FP32  | (n)            | all sounds, mono 16 kHz in [-1, 1], one after the other |
    | TEXT      | BYTES | (1)            | text delta; talker and code2wav pass it on unread |
    | TOKENS    | INT32 | (n)            | ids of the thinker tokens in this delta |
    | STATES    | UINT8 | (rows, bytes)  | projected states, a row a token, in the checkpoint's dtype |
    | POSITIONS | INT32 | (3, k)         | TMRoPE rows of the first k states: those are the prompt's |
    | CODES     | INT32 | (n)            | codec tokens |
    | LAST      | BOOL  | (1)            | nothing of this kind follows in this turn |
    | PCM       | INT16 | (n)            | sound, 24 kHz mono |
    | EVENT     | BYTES | (1)            | `messages.StageEvent` as JSON |
    """

    SESSION = "SESSION"
    TURN = "TURN"
    CANCEL = "CANCEL"
    PIXELS = "PIXELS"
    SAMPLES = "SAMPLES"
    TEXT = "TEXT"
    TOKENS = "TOKENS"
    STATES = "STATES"
    POSITIONS = "POSITIONS"
    CODES = "CODES"
    LAST = "LAST"
    PCM = "PCM"
    EVENT = "EVENT"
