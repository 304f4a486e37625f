"""Model folders that were made to do harm: one function each, which spoils a sound folder.

`marker` is a file that only hostile code would write; `outside` a folder that nothing may read from. REFUSED
says which words the refusal must hold. IGNORED are folders whose hostile part is never opened: they load.
"""

import json
import os
import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Scene:
    """Where a builder works: the folder to spoil, the marker of code that ran, the folder that is out of bounds."""

    folder: Path
    marker: Path
    outside: Path


Builder = Callable[[Scene], None]
REFUSED: dict[str, tuple[Builder, str]] = {}
IGNORED: dict[str, Builder] = {}


def refused(words: str) -> Callable[[Builder], Builder]:
    def keep(build: Builder) -> Builder:
        REFUSED[build.__name__] = (build, words)
        return build

    return keep


def ignored(build: Builder) -> Builder:
    IGNORED[build.__name__] = build
    return build


def make_outside(folder: Path) -> Path:
    """A sound-looking model folder with secrets, which hostile folders point to."""
    folder.mkdir()
    for name in ("config.json", "vocab.json", "tokenizer.json", "secret.json"):
        (folder / name).write_text('{"secret": 1}')
    (folder / "model.safetensors").write_bytes(weights({"secret": [2, 2]}))
    os.mkfifo(folder / "pipe")
    return folder


# ---------------------------------------------------------------- tools


class Attack:
    """Unpickled, it writes the marker."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


def write_pickle(scene: Scene, name: str) -> None:
    (scene.folder / name).parent.mkdir(exist_ok=True)
    (scene.folder / name).write_bytes(pickle.dumps(Attack(scene.marker)))


def write_code(scene: Scene, name: str) -> None:
    (scene.folder / name).parent.mkdir(exist_ok=True)
    (scene.folder / name).write_text(f"open({str(scene.marker)!r}, 'w').close()\n")


def edit(scene: Scene, name: str, **changes: object) -> None:
    path = scene.folder / name
    values = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(values | changes))


def header(values: object, body: bytes = b"") -> bytes:
    data = values if isinstance(values, bytes) else json.dumps(values).encode()
    return struct.pack("<Q", len(data)) + data + body


def weights(shapes: dict[str, list[int]]) -> bytes:
    """A sound safetensors file of float32 zeros."""
    entries, at = {}, 0
    for name, shape in shapes.items():
        size = 4
        for n in shape:
            size *= n
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    return header(entries, bytes(at))


def tensor(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def replace_weights(scene: Scene, data: bytes) -> None:
    (scene.folder / "model.safetensors").write_bytes(data)


def exchange(path: Path, target: Path | str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def index(scene: Scene, place: object) -> None:
    """An index in place of the one file, which sends the library to `place`."""
    (scene.folder / "model.safetensors").rename(scene.folder / "part.safetensors")
    (scene.folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": place}}))


# ---------------------------------------------------------------- code that would run


@refused("pytorch_model.bin")
def weights_only_as_pickle(scene: Scene) -> None:
    (scene.folder / "model.safetensors").unlink()
    write_pickle(scene, "pytorch_model.bin")


@refused("model.pt")
def weights_only_as_pt(scene: Scene) -> None:
    (scene.folder / "model.safetensors").unlink()
    write_pickle(scene, "model.pt")


@refused("not a whole safetensors file")
def pickle_named_safetensors(scene: Scene) -> None:
    (scene.folder / "model.safetensors").unlink()
    write_pickle(scene, "model.safetensors")


@refused("pytorch_model.bin")
def pickle_behind_an_index(scene: Scene) -> None:
    write_pickle(scene, "pytorch_model.bin")
    index(scene, "pytorch_model.bin")


@refused("auto_map")
def auto_map_in_the_config(scene: Scene) -> None:
    write_code(scene, "modeling_evil.py")
    edit(scene, "config.json", model_type="evil", auto_map={"AutoConfig": "modeling_evil.Config"})


@refused("auto_map")
def auto_map_deep_in_the_config(scene: Scene) -> None:
    write_code(scene, "modeling_evil.py")
    edit(scene, "config.json", text_config={"a": [{"auto_map": {"AutoModel": "modeling_evil.Model"}}]})


@ignored
def auto_map_written_with_an_escape(scene: Scene) -> None:
    write_code(scene, "modeling_evil.py")
    text = (scene.folder / "config.json").read_text().rstrip().rstrip("}")
    (scene.folder / "config.json").write_text(text + ', "auto\\u005fmap": {"AutoConfig": "modeling_evil.Config"}}')


@refused("auto_map")
def auto_map_in_the_tokenizer(scene: Scene) -> None:
    write_code(scene, "evil.py")
    edit(scene, "tokenizer_config.json", tokenizer_class="EvilTokenizer", auto_map={"AutoTokenizer": [None, "evil.T"]})


@refused("auto_map")
def auto_map_in_a_processor(scene: Scene) -> None:
    write_code(scene, "evil.py")
    edit(scene, "preprocessor_config.json", auto_map={"AutoProcessor": "evil.P"})


@refused("auto_map")
def auto_map_in_the_generation_config(scene: Scene) -> None:
    edit(scene, "generation_config.json", auto_map={"AutoModel": "org/repo--evil.G"})


@refused("custom_pipelines")
def custom_pipelines(scene: Scene) -> None:
    write_code(scene, "evil.py")
    edit(scene, "config.json", custom_pipelines={"text-generation": {"impl": "evil.P", "pt": ["AutoModel"]}})


@refused("trust_remote_code")
def trust_remote_code(scene: Scene) -> None:
    edit(scene, "config.json", trust_remote_code=True)


@refused("attn_implementation")
def attention_from_a_hub(scene: Scene) -> None:
    edit(scene, "config.json", attn_implementation="evil/kernel")


@refused("_attn_implementation_internal")
def attention_by_an_internal_name(scene: Scene) -> None:
    edit(scene, "config.json", _attn_implementation_internal="evil/kernel")


@refused("attn_implementation")
def attention_of_a_part(scene: Scene) -> None:
    edit(scene, "config.json", attn_implementation={"": "sdpa", "text_config": "evil/kernel@main:f"})


@refused("experts_implementation")
def experts_from_a_hub(scene: Scene) -> None:
    edit(scene, "config.json", _experts_implementation="evil/kernel")


@refused("kernel_config")
def kernels(scene: Scene) -> None:
    edit(scene, "config.json", use_kernels=False, kernel_config={"RMSNorm": "evil/kernel:RMSNorm"})


@refused("use_kernels")
def kernels_wanted(scene: Scene) -> None:
    edit(scene, "config.json", use_kernels=True)


@refused("quantization_config")
def a_quantizer_of_another_package(scene: Scene) -> None:
    edit(scene, "config.json", quantization_config={"quant_method": "hqq", "quant_config": {}})


@refused("dtype")
def a_number_type_that_is_a_function(scene: Scene) -> None:
    edit(scene, "config.json", dtype="load")


@refused("tokenizer_class")
def a_tokenizer_class_that_is_none(scene: Scene) -> None:
    edit(scene, "tokenizer_config.json", tokenizer_class="AutoModelForCausalLM")


@refused("model_type")
def a_type_that_is_a_path(scene: Scene) -> None:
    edit(scene, "config.json", model_type="../../evil")


@refused("names a package to import")
def adapters_that_import(scene: Scene) -> None:
    mapping = {"base_model_class": "system", "parent_library": "os"}
    edit(scene, "adapter_config.json", peft_type="LORA", auto_mapping=mapping)


@refused("adapters")
def adapters_on_a_folder_elsewhere(scene: Scene) -> None:
    (scene.folder / "model.safetensors").unlink()
    edit(scene, "adapter_config.json", peft_type="LORA", base_model_name_or_path=str(scene.outside))


# ---------------------------------------------------------------- ways out of the folder


@refused("leads out")
def weights_linked_from_outside(scene: Scene) -> None:
    exchange(scene.folder / "model.safetensors", scene.outside / "model.safetensors")


@refused("leads out")
def a_config_linked_from_outside(scene: Scene) -> None:
    exchange(scene.folder / "config.json", scene.outside / "secret.json")


@refused("leads out")
def a_chain_of_links(scene: Scene) -> None:
    (scene.folder / "b.json").symlink_to(scene.outside / "vocab.json")
    exchange(scene.folder / "vocab.json", "b.json")


@refused("leads out")
def a_linked_folder(scene: Scene) -> None:
    (scene.folder / "original").symlink_to(scene.outside)


@refused("leads out")
def a_relative_link_out(scene: Scene) -> None:
    exchange(scene.folder / "tokenizer.json", os.path.relpath(scene.outside / "tokenizer.json", scene.folder))


@refused("leads out")
def a_link_to_a_device(scene: Scene) -> None:
    exchange(scene.folder / "tokenizer.json", "/dev/zero")


@refused("leads out")
def a_link_to_a_pipe(scene: Scene) -> None:
    exchange(scene.folder / "model.safetensors", scene.outside / "pipe")


@refused("leads out")
def a_link_to_the_environment(scene: Scene) -> None:
    exchange(scene.folder / "chat_template.jinja", "/proc/self/environ")


@refused("not a regular file")
def a_link_to_itself(scene: Scene) -> None:
    exchange(scene.folder / "tokenizer.json", "tokenizer.json")


@refused("not a regular file")
def a_pipe_as_config(scene: Scene) -> None:
    (scene.folder / "config.json").unlink()
    os.mkfifo(scene.folder / "config.json")


@refused("not a regular file")
def a_pipe_as_weights(scene: Scene) -> None:
    (scene.folder / "model.safetensors").unlink()
    os.mkfifo(scene.folder / "model.safetensors")


@refused("not a regular file")
def a_folder_as_tokenizer(scene: Scene) -> None:
    (scene.folder / "tokenizer.json").unlink()
    (scene.folder / "tokenizer.json").mkdir()


@refused("names '../")
def an_index_that_leads_up(scene: Scene) -> None:
    index(scene, f"../{scene.outside.name}/model.safetensors")


@refused("model.safetensors.index.json names '/")
def an_index_with_an_absolute_path(scene: Scene) -> None:
    index(scene, str(scene.outside / "model.safetensors"))


@refused("leads out")
def an_index_that_names_a_link(scene: Scene) -> None:
    (scene.folder / "far.safetensors").symlink_to(scene.outside / "model.safetensors")
    index(scene, "far.safetensors")


@refused("which lacks it")
def an_index_that_lies(scene: Scene) -> None:
    index(scene, "part.safetensors")
    (scene.folder / "part.safetensors").write_bytes(weights({"other": [2, 2]}))


@refused("points to other files")
def a_vocabulary_elsewhere(scene: Scene) -> None:
    edit(scene, "tokenizer_config.json", vocab_file=str(scene.outside / "vocab.json"))


@refused("points to other files")
def weights_elsewhere(scene: Scene) -> None:
    edit(scene, "config.json", transformers_weights="../outside/model.safetensors")


@refused("points to other files")
def another_config(scene: Scene) -> None:
    edit(scene, "config.json", configuration_files=["../outside/config.9.9.9.json"])


@refused("a file named")
def a_name_with_a_newline(scene: Scene) -> None:
    (scene.folder / "model\n.safetensors").write_text("x")


@refused("a file named")
def a_name_that_runs_backwards(scene: Scene) -> None:
    (scene.folder / "model\u202esrotnesefas.bin").write_text("x")


@refused("a file named")
def a_name_that_is_no_text(scene: Scene) -> None:
    with open(os.fsencode(scene.folder) + b"/\xff\xfe.json", "w"):
        pass


# ---------------------------------------------------------------- bombs


@refused("does not fit")
def a_header_longer_than_the_file(scene: Scene) -> None:
    replace_weights(scene, struct.pack("<Q", 2**63) + b"{}")


@refused("are allowed")
def a_header_of_33_megabytes(scene: Scene) -> None:
    replace_weights(scene, header(b'{"a": "' + b" " * (33 * 2**20) + b'"}'))


@refused("cannot be read")
def a_header_nested_for_ever(scene: Scene) -> None:
    replace_weights(scene, header(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"))


@refused("twice")
def a_tensor_named_twice(scene: Scene) -> None:
    entry = json.dumps(tensor(0, 4, [1])).encode()
    replace_weights(scene, header(b'{"a":' + entry + b',"a":' + entry + b"}", bytes(4)))


@refused("overlap")
def tensors_that_overlap(scene: Scene) -> None:
    replace_weights(scene, header({"a": tensor(0, 8, [2]), "b": tensor(4, 12, [2])}, bytes(12)))


@refused("gap")
def tensors_with_a_gap(scene: Scene) -> None:
    replace_weights(scene, header({"a": tensor(0, 4, [1]), "b": tensor(8, 12, [1])}, bytes(12)))


@refused("end at byte")
def a_tensor_beyond_the_file(scene: Scene) -> None:
    replace_weights(scene, header({"a": tensor(0, 4 * 2**40, [2**40])}, bytes(4)))


@refused("does not have")
def a_tensor_larger_than_its_bytes(scene: Scene) -> None:
    replace_weights(scene, header({"a": tensor(0, 4, [2**40])}, bytes(4)))


@refused("no known number type")
def a_tensor_of_an_unknown_type(scene: Scene) -> None:
    replace_weights(scene, header({"a": tensor(0, 4, [1], "PICKLE")}, bytes(4)))


@refused("no usable shape")
def a_tensor_of_a_negative_size(scene: Scene) -> None:
    replace_weights(scene, header({"a": tensor(4, 0, [-1])}, bytes(4)))


@refused("cannot be read as JSON")
def a_config_nested_for_ever(scene: Scene) -> None:
    (scene.folder / "config.json").write_text('{"a":' + "[" * 100_000 + "]" * 100_000 + "}")


@refused("nested more than")
def a_config_nested_deep(scene: Scene) -> None:
    edit(scene, "config.json", a=json.loads("[" * 100 + "]" * 100))


@refused("larger than")
def a_config_of_17_megabytes(scene: Scene) -> None:
    edit(scene, "config.json", a="x" * (17 * 2**20))


@refused("larger than")
def a_template_of_2_megabytes(scene: Scene) -> None:
    (scene.folder / "chat_template.jinja").write_text("x" * (2 * 2**20))


@refused("cannot be read as JSON")
def a_number_of_10000_digits(scene: Scene) -> None:
    (scene.folder / "config.json").write_text('{"vocab_size": ' + "9" * 10_000 + "}")


@refused("vocab_size")
def a_vocabulary_of_a_trillion(scene: Scene) -> None:
    edit(scene, "config.json", vocab_size=10**12)


@refused("num_hidden_layers")
def a_billion_layers(scene: Scene) -> None:
    edit(scene, "config.json", num_hidden_layers=10**9)


@refused("hidden_size")
def a_width_beyond_numbers(scene: Scene) -> None:
    edit(scene, "config.json", hidden_size=10**4000)


@refused("nested more than")
def a_number_type_nested_deep(scene: Scene) -> None:
    edit(scene, "config.json", dtype=json.loads("[" * 900 + "]" * 900))


@refused("more than 2,000 files")
def too_many_files(scene: Scene) -> None:
    for number in range(2_001):
        (scene.folder / f"{number}.txt").touch()


# ---------------------------------------------------------------- never opened


@ignored
def a_pickle_beside_the_weights(scene: Scene) -> None:
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "adapter_model.bin", "scheduler.pkl"):
        write_pickle(scene, name)


@ignored
def code_beside_the_weights(scene: Scene) -> None:
    for name in ("modeling_llama.py", "tokenization_llama.py", "__init__.py", "custom_generate/generate.py"):
        write_code(scene, name)


@ignored
def a_pickle_in_a_folder_below(scene: Scene) -> None:
    write_pickle(scene, "original/consolidated.00.pth")


@ignored
def a_pipe_with_a_foreign_name(scene: Scene) -> None:
    os.mkfifo(scene.folder / "README.md")


@ignored
def settings_named_as_methods(scene: Scene) -> None:
    edit(scene, "config.json", to_dict="evil", get_text_config=1, extra_files=["x"], base_model_tp_plan={"a": "b"})


@ignored
def a_name_of_a_model_elsewhere(scene: Scene) -> None:
    edit(scene, "config.json", _name_or_path=str(scene.outside), name_or_path=str(scene.outside))
    edit(scene, "tokenizer_config.json", name_or_path=str(scene.outside), special_tokens_map_file="/etc/passwd")
