"""Which parameters count for FLOPs: those of the layers, whatever the weights are stored in."""

from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny
from transformers import GPT2Config, MixtralConfig, PretrainedConfig

from refine_eval.models.parameters import computing_parameters
from refine_eval.models.sources import resolve_adapter

HIDDEN, INNER, LAYERS = 32, 64, 2
# A layer: queries and outputs of 2 heads of 16, keys and values of one; gate, up and down; two norms. A last norm.
LLAMA = LAYERS * (2 * HIDDEN * HIDDEN + 2 * HIDDEN * 16 + 3 * HIDDEN * INNER + 2 * HIDDEN) + HIDDEN


def test_layers_count_and_neither_embeddings_nor_the_output_layer_tied_or_not() -> None:
    for tied in (True, False):
        assert computing_parameters(tiny.llama_config(tie_word_embeddings=tied)) == LLAMA
    assert computing_parameters(tiny.llama_config(num_labels=2)) == LLAMA, "a critic of the same layers"


def test_gpt2_has_the_parameters_of_the_paper() -> None:
    """Kaplan et al. (2020), section 2.1: N = 12 n_layer d_model², here with biases and norms."""
    assert computing_parameters(GPT2Config()) == 12 * (12 * 768**2 + 13 * 768) + 2 * 768


@pytest.mark.parametrize(
    "quantization",
    [
        {"quant_method": "gptq", "bits": 4, "group_size": 128},
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"quant_method": "nobody's"},
    ],
)
def test_quantised_weights_are_as_many_as_they_stand_for(quantization: dict[str, Any]) -> None:
    assert computing_parameters(tiny.llama_config(quantization_config=quantization)) == LLAMA


def test_of_experts_those_count_that_a_token_goes_through() -> None:
    def mixtral(experts: int) -> int:
        found = computing_parameters(
            MixtralConfig(
                vocab_size=9,
                hidden_size=HIDDEN,
                intermediate_size=INNER,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=2,
                num_local_experts=experts,
                num_experts_per_tok=2,
            )
        )
        assert found is not None
        return found

    assert mixtral(8) - mixtral(2) == 6 * HIDDEN, "only the router grows"


@pytest.mark.parametrize("config", [None, PretrainedConfig(), {"hidden_size": 4}, "llama"])
def test_without_a_configuration_of_a_model_nothing_is_known(config: Any) -> None:
    assert computing_parameters(config) is None


def test_an_adapter_that_is_not_merged_counts_with_its_base(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM(tiny.llama_config())
    get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"])).save_pretrained(tmp_path)
    adapter = resolve_adapter(str(tmp_path))
    assert computing_parameters(tiny.llama_config(), adapter) == LLAMA + LAYERS * 4 * (HIDDEN + HIDDEN)
