"""Glossary entries about choosing the next token."""

from llmdbg.explain.glossary.terms import Term

SAMPLING_TERMS = (
    Term(
        name="logits",
        text="The scores that the output head gives, one for each token of the vocabulary: the higher the score, the "
        "likelier the token comes next. Only the differences between scores matter.",
        like="Like points in a contest, before they are turned into chances of winning.",
        see=("softmax", "probability", "output head"),
        aliases=("logit", "score"),
    ),
    Term(
        name="softmax",
        text="The formula that turns scores into probabilities: e is raised to the power of each score, and each "
        "result is divided by the sum of them all. A lead of a few points becomes a large share.",
        like="Like splitting a prize so that whoever is far ahead takes nearly all of it.",
        see=("logits", "probability", "temperature"),
    ),
    Term(
        name="probability",
        text="How likely a token is to come next, from 0 to 100%. The probabilities of all tokens add up to 100%. They "
        "say how texts like this one usually continue, not what is true.",
        like="Like the chance of rain in a weather forecast.",
        see=("softmax", "logits", "entropy"),
        aliases=("probabilities",),
    ),
    Term(
        name="temperature",
        text="A setting that divides the logits before softmax. Below 1, the likeliest tokens become likelier still; "
        "above 1, the others gain.",
        like="Like how adventurous a writer feels that day.",
        see=("softmax", "sampling", "logits"),
    ),
    Term(
        name="top-k",
        text="A setting that keeps the k likeliest tokens and cuts all others.",
        like="Like letting only the first k runners of a heat into the final.",
        see=("top-p", "min-p", "sampling"),
    ),
    Term(
        name="top-p",
        text="A setting that keeps the likeliest tokens until their probabilities add up to p, and cuts the rest. When "
        "the model is sure, few are left; when it is not, many.",
        like="Like inviting your closest friends first until the table is full.",
        see=("top-k", "min-p", "sampling"),
        aliases=("nucleus sampling", "nucleus"),
    ),
    Term(
        name="min-p",
        text="A setting that cuts every token whose probability is less than p times that of the likeliest one.",
        like="Like a pass mark that depends on the best result in the class.",
        see=("top-p", "top-k", "sampling"),
    ),
    Term(
        name="repetition penalty",
        text="A setting that lowers the scores of tokens that are already in the sequence, to keep the model from "
        "repeating itself.",
        like="Like being reminded that you have said that before.",
        see=("logits", "processor", "sampling"),
    ),
    Term(
        name="processor",
        text="A step between the logits and the choice that changes the scores. Temperature, top-k, top-p, min-p and "
        "the repetition penalty are all processors.",
        like="Like the rules of a contest, applied after the judges have given their scores.",
        see=("logits", "sampling", "temperature"),
        aliases=("logits processor",),
    ),
    Term(
        name="greedy",
        text="Always taking the token with the highest score. The same prompt then gives the same answer every time.",
        like="Like taking the widest path at every fork.",
        see=("sampling", "logits"),
        aliases=("greedy decoding",),
    ),
    Term(
        name="sampling",
        text="Drawing the next token at random, each as often as its probability says. A seed makes the draw "
        "repeatable.",
        like="Like spinning a wheel on which each token has a slice as wide as it is likely.",
        see=("probability", "temperature", "seed", "greedy"),
        aliases=("sample",),
    ),
    Term(
        name="seed",
        text="The number that random draws start from. The same seed gives the same draws.",
        like="Like shuffling a pack of cards in exactly the same way twice.",
        see=("sampling",),
    ),
    Term(
        name="candidate",
        text="A token that may come next, with its score and its probability.",
        like="Like a name on a ballot.",
        see=("probability", "logits", "runner-up"),
    ),
    Term(
        name="runner-up",
        text="The likeliest token that was not chosen. How far behind it was shows how clear the choice was.",
        like="Like the runner who comes second in a race.",
        see=("candidate", "probability"),
    ),
    Term(
        name="entropy",
        text="How undecided the model is, in nats: 0 when one token has all the probability, and more the more evenly "
        "it is spread. If n tokens are equally likely, the entropy is ln(n) nats.",
        like="Like how open a race is before it starts.",
        see=("probability", "surprise", "perplexity"),
    ),
    Term(
        name="surprise",
        text="How unlikely the model thought a token was that then came: minus the logarithm of its probability.",
        like="Like raising your eyebrows at a word.",
        see=("entropy", "perplexity", "probability"),
        aliases=("surprisal",),
    ),
    Term(
        name="perplexity",
        text="The surprise at a whole text as one number: it is as if the model had chosen among that many equally "
        "likely tokens each time. A lower number means that it expected the text.",
        like="Like how many doors you hesitate between at each turn.",
        see=("surprise", "entropy", "loss"),
    ),
)
