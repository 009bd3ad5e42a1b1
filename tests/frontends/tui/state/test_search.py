"""Finding text that tokens cut anywhere, tokens by id, and stages by address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.execution.stop import TokenRow
from llmdbg.frontends.tui.state.search import Index, Matches
from llmdbg.models.stages import Stage, StageKind
from llmdbg.models.tokens import TokenizerVocabulary, encode_prompt
from tests.sessions import tiny_session, tiny_tokenizer


def rows(*texts, first_id=1000):
    return tuple(TokenRow(n, first_id + n, text, text, False, None) for n, text in enumerate(texts))


STAGES = tuple(
    Stage(StageKind.MODULE, address) for address in ("tokenize", "0.mlp", "0", "1.mlp.up", "1.mlp", "1", "norm", "MLP")
)
EMAIL = rows("<|im_start|>", "user", "\n", "Can", " you", " write", " an", " em", "ail", "?", " An", " Email", " an")


@pytest.mark.parametrize(
    ("query", "hits"),
    [
        ("an email", ((6, 8), (10, 11))),
        ("An Email", ((10, 11),)),
        ("can", ((3, 3),)),
        ("n you", ((3, 4),)),
        ("mail", ((7, 8), (11, 11))),
        ("r\nc", ((1, 3),)),
        ("im_start", ((0, 0),)),
        (" an", ((6, 6), (10, 10), (12, 12))),
        ("#1005", ((5, 5),)),
        ("#9", ()),
        ("nothing", ()),
        ("", ()),
    ],
)
def test_text_is_found_wherever_tokens_cut_it(query, hits):
    found = Index().matches(query, EMAIL, ())
    assert found.hits == hits
    assert found.tokens == tuple(at for first, last in hits for at in range(first, last + 1))
    assert bool(found) == bool(hits)


def test_a_number_sign_is_text_where_no_token_has_that_id():
    tokens = rows("#", "12", " and ", "#13", first_id=13)
    assert Index().matches("#12", tokens, ()).hits == ((0, 1),)
    assert Index().matches("#13", tokens, ()).hits == ((0, 0),)


def test_positions_are_those_of_the_rows():
    tokens = tuple(TokenRow(40 + n, n, text, text, False, None) for n, text in enumerate(("a", "b", "c")))
    assert Index().matches("bc", tokens, ()).tokens == (41, 42)


def test_two_hits_in_one_token_cover_it_once():
    found = Index().matches("a", rows("banana", "x", "a"), ())
    assert found.hits == ((0, 0), (0, 0), (0, 0), (2, 2))
    assert found.tokens == (0, 2)


@pytest.mark.parametrize(
    ("query", "stages"),
    [
        ("mlp", ("0.mlp", "1.mlp.up", "1.mlp", "MLP")),
        ("MLP", ("MLP",)),
        ("1.", ("1.mlp.up", "1.mlp")),
        ("norm", ("norm",)),
        ("xyz", ()),
        ("", ()),
    ],
)
def test_stages_are_found_by_a_part_of_their_address(query, stages):
    assert Index().matches(query, (), STAGES).stages == stages


def test_going_from_hit_to_hit_goes_round():
    found = Index().matches("an email", EMAIL, ())
    assert [found.next_token(at) for at in (0, 6, 9, 10, 12)] == [6, 10, 10, 6, 6]
    assert Matches().next_token(3) is None


def test_going_from_stage_to_stage_goes_round():
    found = Index().matches("1.mlp", (), STAGES)
    assert [found.next_stage(at) for at in ("tokenize", "1.mlp.up", "1.mlp", "gone")] == [
        "1.mlp.up",
        "1.mlp",
        "1.mlp.up",
        "1.mlp.up",
    ]
    assert Matches().next_stage("0") is None


@pytest.mark.parametrize(
    ("texts", "query", "tokens"),
    [
        (("a", "<0xF0><0x9F>", "<0x99>", "<0x82> b", "c"), "🙂", (1, 2, 3)),
        (("a", "<0xF0><0x9F>", "<0x99>", "<0x82> b", "c"), "🙂 bc", (1, 2, 3, 4)),
        (("a", "<0xF0><0x9F>", "<0x99>", "<0x82> b", "c"), " b", (3,)),
        (("a", "<0xF0><0x9F>", "<0x99>", "<0x82> b", "c"), "a", (0,)),
        (("x", "<0xC3>", "<0x89>", "t"), "ét", (1, 2, 3)),
        (("x", "<0xC3>", "<0x89>", "t"), "Ét", (1, 2, 3)),
        (("x", "<0xFF>", "y"), "<0xFF>y", (1, 2)),
        (("x", "<0xF0>"), "<0xF0>", (1,)),
        (("<0x41>", "B"), "<0x41>b", (0, 1)),
        (("İ", "stanbul"), "stan", (1,)),
        (("\ud800", "<0xFF>\ud800", "z"), "z", (2,)),
        (("", "a", "", "b", ""), "ab", (1, 2, 3)),
    ],
)
def test_a_character_may_be_spread_over_tokens(texts, query, tokens):
    assert Index().matches(query, rows(*texts), ()).tokens == tokens


@given(
    st.lists(st.text(alphabet="abA ÉßİK", max_size=3), max_size=12), st.text(alphabet="aAb é", min_size=1, max_size=3)
)
def test_hits_are_the_places_in_the_joined_text(texts, query):
    tokens = rows(*texts)
    joined = "".join(texts)
    fold = query == query.lower()
    low = "".join(c.lower() if fold and len(c.lower()) == 1 else c for c in joined)
    found = Index().matches(query, tokens, ())

    assert len(found.hits) == low.count(query)
    for first, last in found.hits:
        inside = "".join(c.lower() if fold and len(c.lower()) == 1 else c for c in "".join(texts[first : last + 1]))
        assert query in inside
        assert texts[first]
        assert texts[last]


_pieces = st.sampled_from(["a", "b", " ", "<0xC3>", "<0xA9>", "<0xF0><0x9F>", "<0x99>", "<0x82>", "É"])


@given(
    st.lists(_pieces, max_size=12), st.lists(st.integers(0, 12), max_size=4), st.sampled_from(["a", "é", "🙂", "b "])
)
def test_an_index_that_follows_finds_what_a_new_one_does(texts, lengths, query):
    tokens, index = rows(*texts), Index()
    for length in [*lengths, len(tokens)]:
        assert index.matches(query, tokens[:length], STAGES) == Index().matches(query, tokens[:length], STAGES)


def test_a_character_whose_last_byte_comes_later_is_found():
    tokens, index = rows("a", "<0xC3>", "<0xA9>", "b"), Index()
    assert index.matches("<0xC3>", tokens[:2], ()).tokens == (1,)
    assert index.matches("aéb", tokens, ()).tokens == (0, 1, 2, 3)


def test_another_sequence_is_indexed_anew():
    index = Index()
    index.matches("a", rows("a", "b", "c"), ())
    assert index.matches("x", rows("a", "x", "c"), ()).tokens == (1,)
    assert index.matches("c", rows("a"), ()).tokens == ()


def test_the_running_text_of_a_real_tokenizer():
    tokenizer = tiny_tokenizer()
    text = "The quick fox drinks black tea 🙂 and writes."
    vocabulary = TokenizerVocabulary(tokenizer)
    ids = encode_prompt(tokenizer, text).ids
    tokens = [TokenRow(n, id, (t := vocabulary.token(id)).piece, t.text, t.special, None) for n, id in enumerate(ids)]

    for query in ("quick fox", "🙂", "tea 🙂 and", "WRITES".lower(), text):
        found = Index().matches(query, tokens, ())
        assert len(found.hits) == 1, query
        ((first, last),) = found.hits
        assert query in tokenizer.decode(list(ids[first : last + 1]))


def test_a_session_that_goes_on_is_followed():
    session, index = tiny_session(text="Hello there", max_new_tokens=6), Index()
    for _ in range(3):
        COMMANDS.run(session, "token")
        newest = session.run.tokens()[-1]
        found = index.matches(f"#{newest.id}", session.run.tokens(), session.run.stages.all())
        assert newest.index in found.tokens
    assert index.matches("lo th", session.run.tokens(), session.run.stages.all()).tokens == (3, 4, 5, 6, 7)
