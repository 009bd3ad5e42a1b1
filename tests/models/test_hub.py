"""A model of the Hub: its small files come first, and its weights once the prompt's tokens are known."""

import sys

import huggingface_hub
import pytest

from llmdbg.errors import DamagedFileError, ModelRequestError
from llmdbg.models import hub, read_ahead
from llmdbg.models.load_steps import LoadStep
from llmdbg.models.loading import load
from llmdbg.models.sources import find_source, source_at_hand
from llmdbg.models.spec import LoadProgress, ModelSpec
from tests.hub_server import COMMIT, NAME, HubServer
from tests.models.refusals import change_config
from tests.terminal import Terminal


@pytest.fixture
def server(a_copy, tmp_path, monkeypatch):
    """A Hub with the tiny model, for this process and for those it starts, and an empty cache."""
    with HubServer(a_copy("hub")) as served:
        home = tmp_path / "home"
        for name, value in served.environment(home).items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        # The client read the environment when it was imported.
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", served.address)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(home / "hub"))
        template = served.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield served


def weights_asked_for(server):
    return [each for each in server.asked if "safetensors" in each]


def test_the_tokenizer_is_there_before_a_weight_is_asked_for(server):
    steps: list[object] = []

    def there(tokenizer, _config):
        assert len(tokenizer) == 320
        assert weights_asked_for(server) == []
        server.may_send.set()

    def heard(progress: LoadProgress):
        steps.append(progress.stage)

    loaded = load(ModelSpec(NAME), heard, there)
    assert loaded.name == NAME
    assert weights_asked_for(server)
    at = steps.index(LoadStep.WEIGHTS)
    assert "downloading" in steps[:at] and "downloading" in steps[at:]

    asked = len(server.asked)
    load(ModelSpec(NAME))
    assert server.asked[asked:] == [f"GET /api/models/{NAME}/revision/main"], "what is here costs one question"


def test_random_weights_need_none_of_the_hubs(server):
    load(ModelSpec(NAME, random_weights=True))
    assert weights_asked_for(server) == []


@pytest.mark.parametrize(
    ("changes", "kind"),
    [({"model_type": "t5"}, ModelRequestError), ({"num_attention_heads": 0}, DamagedFileError)],
)
def test_what_is_refused_is_refused_before_the_weights_are_downloaded(server, changes, kind):
    change_config(server.folder, **changes)
    with pytest.raises(kind):
        load(ModelSpec(NAME))
    assert weights_asked_for(server) == []


def test_the_weights_are_those_of_the_same_commit(server):
    source = find_source(ModelSpec(NAME), lambda _: None)
    assert source.folder.name == COMMIT
    server.may_send.set()
    hub.download_weights(NAME, source.folder, lambda _: None, allow_pickle=False)
    assert all(f"/resolve/{COMMIT}/" in each for each in weights_asked_for(server))
    assert [each for each in server.asked if "/revision/" in each] == [f"GET /api/models/{NAME}/revision/main"]
    assert (source.folder / "model.safetensors").is_file()


def test_an_adapters_weights_may_come_with_the_others(server, monkeypatch):
    monkeypatch.setattr("llmdbg.models.adapters.importlib.util.find_spec", lambda _name: True)
    (server.folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    server.may_send.set()
    with pytest.raises(DamagedFileError, match=r"no adapter_model\.safetensors"):
        load(ModelSpec(NAME))
    assert weights_asked_for(server), "they may have been among them"


def test_what_is_in_the_cache_is_found_without_asking(server):
    assert source_at_hand(NAME) is None
    assert read_ahead.weights_at_hand(NAME) == []
    assert server.asked == []
    server.may_send.set()
    load(ModelSpec(NAME))
    asked = len(server.asked)

    source = source_at_hand(NAME)
    assert source is not None
    assert (source.name, source.folder.name, source.on_hub) == (NAME, COMMIT, True)
    assert read_ahead.weights_at_hand(NAME) == [source.folder / "model.safetensors"]
    assert len(server.asked) == asked


@pytest.mark.slow
def test_the_screen_has_the_prompts_tokens_while_the_weights_are_downloaded(server, tmp_path):
    command = (sys.executable, "-m", "llmdbg", NAME, "-p", "The quick")
    terminal = Terminal(*command, environment={"XDG_STATE_HOME": str(tmp_path / "state")})
    try:
        terminal.wait_for("the prompt, ")
        terminal.wait_for(f"▶ {LoadStep.WEIGHTS}")
        assert "embed" not in terminal.text
        server.may_send.set()
        terminal.wait_for("embed")
        terminal.send("q")
        assert terminal.wait_for_exit() == 0
    finally:
        terminal.close()
