"""What each key of a selector matches, on both sides of what it asks."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, model, weight
from workbench.errors import SelectorError
from workbench.graph.select.keys import WORDS, _glob
from workbench.graph.select.language import parse, select
from workbench.graph.select.selectors import And, Everything, Not, Or, Pick, between, everything, nodes, pick, related

node = helper.make_node


@pytest.mark.parametrize(
    ("pattern", "levels", "whole", "other"),
    [
        ("a*c", False, ["ac", "abc", "a/c", "a\nc"], ["abcd", "xac"]),
        ("a*c", True, ["ac", "abc"], ["a/c"]),
        ("a**c", True, ["ac", "a/b/c"], ["a/b"]),
        ("a**c", False, ["ac", "a/b/c"], ["a/b"]),
        ("a?c", False, ["abc", "a/c", "a\nc"], ["ac", "abbc"]),
        ("a?c", True, ["abc"], ["a/c", "ac"]),
        (r"a\*c", False, ["a*c"], ["abc"]),
        (r"a\?\\", False, ["a?\\"], ["ab\\"]),
        (r"a\b", False, [r"a\b"], ["ab"]),
        ("a.b[0]", False, ["a.b[0]"], ["axb0"]),
        ("", False, [""], ["a"]),
    ],
)
def test_a_glob_means(pattern, levels, whole, other):
    compiled = _glob(pattern, levels=levels)
    assert [bool(compiled.fullmatch(text)) for text in (*whole, *other)] == [True] * len(whole) + [False] * len(other)


@pytest.fixture(scope="module")
def network():
    """A row of nodes of two domains and types, one with a branch, whose names hold what a pattern could be."""
    body = helper.make_graph(
        [node("Neg", ["a"], ["z"], "neg")], "b", [], [helper.make_tensor_value_info("z", TensorProto.FLOAT, [2])]
    )
    made = [
        node("Add", ["x", "w"], ["a"], "n/add"),
        node("If", ["yes"], ["b"], "n/if", then_branch=body, else_branch=body),
        node("Gelu", ["b"], ["c"], "n[1]", domain="com.microsoft"),
        node("Cast", ["c"], ["d"], "m/k/cast", to=TensorProto.FLOAT16),
        node("Clip", ["d", "", "most"], ["y"], "m/clip"),
        node("Gelu", ["c"], ["v"], "gelu"),
    ]
    return model(
        made,
        {"x": [2], "yes": (TensorProto.BOOL, [])},
        {"y": (TensorProto.FLOAT16, [2]), "v": [2]},
        [weight("w", 2), constant("most", 6, "float16")],
        domains=["com.microsoft"],
        opset=20,
        ir_version=9,
    )


BRANCHES = ["n/if/else/neg", "n/if/then/neg"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name:n[1]", ["n[1]"]),
        ("name:n*", ["n/add", "n/if", "n[1]", *BRANCHES]),
        ("re:^n.1", ["n[1]"]),
        ("re:k", ["m/k/cast"]),
        ("op:Gelu", ["n[1]", "gelu"]),
        ("op:com.microsoft.Gelu", ["n[1]"]),
        ("op:com.*", ["n[1]"]),
        ("op:*", ["n/add", "n/if", "n[1]", "m/k/cast", "m/clip", "gelu", *BRANCHES]),
        ("op:.Add", []),
        ("scope:n", ["n/add", "n/if", *BRANCHES]),
        ("scope:n/", ["n/add", "n/if", *BRANCHES]),
        ("scope:n/*", ["n/add", "n/if", *BRANCHES]),
        ("scope:n/**", ["n/add", "n/if", *BRANCHES]),
        ("scope:n/if/*", BRANCHES),
        ("scope:*/k", ["m/k/cast"]),
        ("scope:*", ["n/add", "n/if", "m/k/cast", "m/clip", *BRANCHES]),
        ("scope:**/then", ["n/if/then/neg"]),
        ("scope:*/then", []),
        ("scope:?/??/th*", ["n/if/then/neg"]),
        ("scope:gelu", []),
        ("dtype:FLOAT16", ["m/k/cast", "m/clip"]),
        ("dtype:fp16", ["m/k/cast", "m/clip"]),
        ("dtype:float32", ["n/add", "n/if", "n[1]", "gelu", *BRANCHES]),
        ("dtype:fp32|float", ["n/add", "n/if", "n[1]", "gelu", *BRANCHES]),
        ("dtype:bf16|fp64", []),
        ("has:weights", ["n/add"]),
        ("has:subgraph", ["n/if"]),
        ("has:weights|subgraph", ["n/add", "n/if"]),
        ("reads:c", ["m/k/cast", "gelu"]),
        ("reads:?", ["n/add", "n[1]", "m/k/cast", "m/clip", "gelu", *BRANCHES]),
        ("reads:most", ["m/clip"]),
        ("reads:*", ["n/add", "n/if", "n[1]", "m/k/cast", "m/clip", "gelu", *BRANCHES]),
        ("makes:n/if/then/*", ["n/if/then/neg"]),
        ("makes:[yv]", []),
        ("makes:y|v", ["m/clip", "gelu"]),
        ("between(c, y)", ["m/k/cast", "m/clip"]),
        ("between(c, c)", []),
        ("between(b, v)", ["n[1]", "gelu"]),
        ("upstream(makes:y)", ["n/add", "n/if", "n[1]", "m/k/cast", *BRANCHES]),
        ("downstream(op:Cast)", ["m/clip"]),
        ("consumers(makes:c)", ["m/k/cast", "gelu"]),
        ("consumers(makes:a)", BRANCHES),
        ("producers(op:If)", BRANCHES),
        ("producers(op:Add)", []),
        ("!reads:*", []),
    ],
)
def test_each_key_matches(network, text, expected):
    assert select(network, text, required=False) == expected


def test_where_near_names_come_from(network):
    words = {key: sorted(WORDS[key](network)) for key in WORDS}
    assert words["name"] == sorted(network.nodes)
    assert words["re"] == []
    assert words["op"] == ["Add", "Cast", "Clip", "Gelu", "Gelu", "If", "Neg", "com.microsoft.Gelu"]
    assert words["scope"] == ["m", "m/k", "n", "n/if", "n/if/else", "n/if/then"]
    assert words["dtype"] == ["FLOAT", "FLOAT16"]
    assert words["has"] == ["subgraph", "weights"]
    assert words["reads"] == words["makes"]
    assert set(words["reads"]) == {"x", "w", "a", "yes", "b", "c", "d", "most", "y", "v", "n/if/else/z", "n/if/then/z"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("op:Zzz", "op:Zzz: matches nothing. Look at the names in g."),
        ("op:Gel", "op:Gel: matches nothing. Did you mean op:Gelu or op:com.microsoft.Gelu?"),
        ("name:n/a", "name:n/a: matches nothing. Did you mean name:n/add?"),
        ("dtype:FLOAT8", "dtype:FLOAT8: matches nothing. Did you mean dtype:FLOAT or dtype:FLOAT16?"),
        (
            "op:Add & op:Cast",
            "op:Add & op:Cast: no node fulfils all of it at once. Each part alone matches; drop one of them.",
        ),
        ("op:Add & op:Zzz", "op:Add & op:Zzz: matches nothing, for 'op:Zzz' does not. Look at the names in g."),
        ("op:Zzz | op:Yyy", "op:Zzz | op:Yyy: matches nothing, for 'op:Zzz' does not. Look at the names in g."),
        ("!*", "!*: matches nothing. Look at the names in g."),
        ("between(most, nowhere)", "between(most, nowhere): matches nothing. Look at the names in g."),
        ("between(moost, y)", "between(moost, y): matches nothing. Did you mean most?"),
        ("between(y, x)", "between(y, x): matches nothing. Look at the names in g."),
        (
            "consumers(op:If & op:Cast)",
            "consumers(op:If & op:Cast): no node fulfils all of it at once. Each part alone matches; drop one of them.",
        ),
        ("consumers(makes:y)", "consumers(makes:y): matches nothing. Look at the names in g."),
        ("has:wheels", "has:wheels: a node has weights or a subgraph. Write has:weights."),
        ("re:*", "*: not a regular expression: nothing to repeat at position 0. Mend it, or quote it."),
    ],
)
def test_what_matches_nothing_says_which_part_and_what_may_have_been_meant(network, text, message):
    with pytest.raises(SelectorError) as caught:
        select(network, text)
    assert str(caught.value) == message


def test_a_selector_that_matches_is_to_blame_for_nothing(network):
    assert Everything().blame(network) == everything
    assert pick("op", "Add").blame(network) == pick("op", "Add")
    assert (pick("op", "Add") & pick("op", "Cast")).blame(network) is None
    assert Everything().near(network) == []
    assert pick("op", "Gellu", "Ad", "Cas").near(network) == ["op:Gelu", "op:Add", "op:Cast"]


def test_parts_of_one_kind_are_written_flat():
    a, b, c = (pick("op", name) for name in "abc")
    assert (a & b & c, a & (b & c)) == (And((a, b, c)), And((a, b, c)))
    assert (a | b | c, a | (b | c)) == (Or((a, b, c)), Or((a, b, c)))
    assert (a | b) & c == And((Or((a, b)), c))
    assert (~a, ~~a, ~(a & b)) == (Not(a), a, Not(And((a, b))))


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        (pick("op", "a", "*", "b c"), 'op:a|"*"|"b c"'),
        (pick("op", "*"), "op:*"),
        (pick("name", 'say "hi"'), 'name:"say ""hi"""'),
        (pick("name", "!a"), 'name:"!a"'),
        (pick("name", "a!"), "name:a!"),
        (pick("name", ":a"), 'name:":a"'),
        (pick("name", "key:b"), 'name:"key:b"'),
        (pick("name", "key::b"), "name:key::b"),
        (pick("name", "a1:b"), "name:a1:b"),
        (pick("name", ""), 'name:""'),
        (pick("name", "it's"), 'name:"it\'s"'),
        (nodes("a*b", "c?", "d\\"), r"name:a\*b|c\?|d\\"),
        (between("a b", "c"), 'between("a b", c)'),
        (related("upstream", pick("op", "a") | everything), "upstream(op:a | *)"),
        (~pick("op", "a") & (everything | ~everything), "!op:a & (* | !*)"),
    ],
)
def test_a_selector_is_written_as_it_is_read(selector, text):
    assert str(selector) == text
    assert parse(text) == selector


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pick("op"), "the key 'op' needs a value. For example op:*."),
        (lambda: pick("opp", "a"), "there is no key 'opp'. Did you mean op?"),
        (
            lambda: pick("re", "a", "("),
            "(: not a regular expression: missing ), unterminated subpattern at position 0. Mend it, or quote it.",
        ),
        (lambda: related("betwen", everything), "there is no 'betwen'. Did you mean between?"),
        (lambda: related("upsteam", everything), "there is no 'upsteam'. Did you mean upstream?"),
    ],
)
def test_what_is_no_selector_says_what_there_is(make, message):
    with pytest.raises(SelectorError) as caught:
        make()
    assert str(caught.value) == message


def test_values_that_are_written_alone():
    assert parse("op:a|b|'c d'") == Pick("op", ("a", "b", "c d"))
    assert parse("op:a|*") == Or((pick("op", "a"), everything))
    assert parse("op:a|upstream(*)") == Or((pick("op", "a"), related("upstream", everything)))
    assert parse("op:a|name:b") == Or((pick("op", "a"), pick("name", "b")))
    assert parse("op:a|!op:b") == Or((pick("op", "a"), ~pick("op", "b")))
    assert parse("name:'it''s'") == pick("name", "it's")
    assert parse('name:"say ""hi"""') == pick("name", 'say "hi"')
    assert parse("  op:a   &\t* ") == And((pick("op", "a"), everything))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            "an empty selector: at column 1: a selector is missing. See the table in workbench.graph.select.language.",
        ),
        ("  ", "  : at column 3: a selector is missing. See the table in workbench.graph.select.language."),
        ("op:a b", "op:a b: at column 6: something is left over"),
        ("op:a & b", "op:a & b: at column 8: 'b' is no selector. Write name:b for a name."),
        ("op:a & &", "op:a & &: at column 8: '&' is no selector. See the table in workbench.graph.select.language."),
        ("op: &", "op: &: at column 5: a value is missing"),
        ("op:a|", "op:a|: at column 6: a selector is missing. See the table in workbench.graph.select.language."),
        ("between(a b)", "between(a b): at column 11: between needs two tensors. Write between(a, b)."),
        ("between(a,)", "between(a,): at column 11: a value is missing"),
        ("between(a, b", "between(a, b: at column 13: a closing parenthesis is missing"),
        ("(op:a | op:b", "(op:a | op:b: at column 13: a closing parenthesis is missing"),
        ("upstream(*", "upstream(*: at column 11: a closing parenthesis is missing"),
        ("op:a & 'b", "op:a & 'b: at column 7: a quote that is not closed"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_column(text, message):
    with pytest.raises(SelectorError) as caught:
        parse(text)
    assert str(caught.value) == message


def test_a_selector_is_of_bounded_length_and_depth():
    assert parse("(" * 49 + "*" + ")" * 49) == everything
    with pytest.raises(SelectorError, match="the selector: it has 51 parentheses and negations"):
        parse("(" * 50 + "*" + ")" * 50)
    # One beside the other is not one inside the other.
    assert len(str(parse(" & ".join(["(op:a | op:b)"] * 60))).split("&")) == 60
    with pytest.raises(SelectorError, match="the selector: it has 100001 characters of a selector"):
        parse("a" * 100_001)
