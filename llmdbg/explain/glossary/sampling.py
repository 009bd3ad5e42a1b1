"""Glossary entries about choosing a token: names (parted by `|`), what it is, an analogy, and what to see also."""

CHOOSING: tuple[tuple[str, str, str, str], ...] = (
    (
        "logits|logit|score",
        "The scores behind the output head, one for each token of the vocabulary: the higher, the likelier it comes "
        "next. Only differences between them matter.",
        "Like points in a contest, before they are turned into chances of winning.",
        "softmax|probability|output head",
    ),
    (
        "softmax",
        "Turns scores into probabilities: each is raised to the power of e and divided by the sum of all. A lead of a "
        "few points becomes a large share.",
        "Like dividing a prize: who is far ahead takes nearly all.",
        "logits|probability|temperature",
    ),
    (
        "probability|probabilities",
        "How likely a token is to come next, from 0 to 100 %. Those of all tokens together make 100 %. It says what "
        "texts like this one go on with, not what is true.",
        "Like a forecast of rain.",
        "softmax|logits|entropy",
    ),
    (
        "temperature",
        "A setting that divides the logits before softmax. Below 1 the likeliest tokens become likelier still, above 1 "
        "the others gain.",
        "Like how daring a writer is that day.",
        "softmax|sampling|logits",
    ),
    (
        "top-k",
        "A setting that keeps the k likeliest tokens and cuts all others.",
        "Like letting only the first k of a race go on to the final.",
        "top-p|min-p|sampling",
    ),
    (
        "top-p|nucleus sampling|nucleus",
        "A setting that keeps the likeliest tokens until they make up p together, and cuts the rest. Where the model "
        "is sure, few are left; where it is not, many.",
        "Like inviting friends by closeness until the table is full.",
        "top-k|min-p|sampling",
    ),
    (
        "min-p",
        "A setting that cuts tokens less likely than p times the likeliest one.",
        "Like a pass mark that depends on the best result.",
        "top-p|top-k|sampling",
    ),
    (
        "repetition penalty",
        "A setting that lowers the scores of tokens that are in the sequence already, to keep the model from going "
        "round in circles.",
        "Like being told that you have said that before.",
        "logits|processor|sampling",
    ),
    (
        "processor|logits processor",
        "A step between the logits and the choice that changes the scores: temperature, top-k, top-p, min-p and the "
        "repetition penalty are each one.",
        "Like the rules of a contest, applied after the judges have scored.",
        "logits|sampling|temperature",
    ),
    (
        "greedy|greedy decoding",
        "Always taking the token with the highest score. The same prompt then gives the same answer each time.",
        "Like always taking the widest path at a fork.",
        "sampling|logits",
    ),
    (
        "sampling|sample",
        "Drawing the next token at random, each as often as its probability says. The seed makes the draw repeatable.",
        "Like spinning a wheel whose fields are as wide as the tokens are likely.",
        "probability|temperature|seed|greedy",
    ),
    (
        "seed",
        "The number that random draws begin with. The same seed gives the same draws.",
        "Like shuffling a pack in exactly the same way twice.",
        "sampling",
    ),
    (
        "candidate",
        "A token that may come next, with its score and its probability.",
        "Like a name on the ballot.",
        "probability|logits|runner-up",
    ),
    (
        "runner-up",
        "The likeliest token that was not chosen. How far it is behind tells how clear the choice was.",
        "Like the second in a race.",
        "candidate|probability",
    ),
    (
        "entropy",
        "How undecided the model is, in nats: 0 where one token has all the probability, and the more the more evenly "
        "it is spread. Equal chances for n tokens are ln(n) nats.",
        "Like how open a race is before it starts.",
        "probability|surprise|perplexity",
    ),
    (
        "surprise|surprisal",
        "How unlikely the model held a token that came: minus the logarithm of its probability.",
        "Like raising your eyebrows at a word.",
        "entropy|perplexity|probability",
    ),
    (
        "perplexity",
        "The surprise of a whole text in one number: as if the model had had so many equally likely tokens to choose "
        "from each time. Lower means that it expected the text.",
        "Like how many doors you hesitate between at each corner.",
        "surprise|entropy|loss",
    ),
)
