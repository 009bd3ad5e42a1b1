"""Glossary entries about looking inside a running model."""

from llmdbg.explain.glossary.terms import Term

DEBUGGING_TERMS = (
    Term(
        name="rank",
        text="The place of a token when all of them are sorted by score. Rank 1 is the likeliest.",
        like="Like finishing first, second or third in a race.",
        see=("logits", "probability"),
    ),
    Term(
        name="standard deviation",
        text="How far the numbers of a tensor typically lie from their mean. Often written std.",
        like="Like how much the heights in a school class differ.",
        see=("tensor", "vector"),
        aliases=("std",),
    ),
    Term(
        name="absmax",
        text="The largest absolute value in a tensor. Headroom is how far it is from the largest number its dtype can "
        "hold; beyond that, numbers become infinite.",
        like="Like the gap between the top of a lorry and the bridge it drives under.",
        see=("dtype", "NaN", "bfloat16"),
        aliases=("headroom",),
    ),
    Term(
        name="outlier dimension",
        text="A place in the vectors where the numbers are far larger than everywhere else, at nearly every position. "
        "Most language models have a few, and quantisation has to handle them with care.",
        like="Like one voice in a choir that drowns out the rest.",
        see=("vector", "quantisation"),
        aliases=("outlier",),
    ),
    Term(
        name="stage",
        text="A place where llmdbg can stop the model: one part of it has just run, and its output is there to be "
        "examined.",
        like="Like a station where the train stops and you can look around.",
        see=("breakpoint", "module", "address"),
    ),
    Term(
        name="address",
        text="The name of a stage, as you type it: 12 is a layer, 12.mlp is its MLP, logits are the scores, and 12@5 "
        "is layer 12 while generated token 5 is being produced.",
        like="Like a street name and a house number.",
        see=("stage", "module"),
    ),
    Term(
        name="breakpoint",
        text="A stage at which the run stops, either always or only when a condition holds.",
        like="Like a bookmark at which the reader pauses.",
        see=("stage", "watch", "tracepoint"),
    ),
    Term(
        name="tracepoint",
        text="A stage at which llmdbg notes something down without stopping the run.",
        like="Like a traffic counter beside the road.",
        see=("breakpoint", "watch"),
    ),
    Term(
        name="watch",
        text="A value that stops the run when it changes.",
        like="Like a smoke alarm.",
        see=("breakpoint", "tracepoint"),
        aliases=("watchpoint",),
    ),
    Term(
        name="focus",
        text="The position whose vector the numbers and the lens describe. It is the last one unless you pick another.",
        like="Like the line you are pointing at with your finger.",
        see=("position", "vector"),
    ),
    Term(
        name="logit lens",
        text="Reading a layer's vector as if it were the last one: it goes through the final norm and the output head, "
        "and the scores show what the model would say if it stopped there. In early layers the result often makes "
        "little sense.",
        like="Like looking into the oven before the cake is done.",
        see=("logits", "layer", "residual stream", "attribution"),
        aliases=("lens",),
    ),
    Term(
        name="attribution",
        text="Splitting a token's score into what each part of the model added to it. If the scale of the final norm "
        "is held fixed, the contributions of all parts add up to the score.",
        like="Like working out who paid how much of a bill.",
        see=("logits", "residual stream", "logit lens"),
    ),
    Term(
        name="probe",
        text="A question about a tensor at a stop, answered with a few numbers. Asking it changes nothing.",
        like="Like taking someone's temperature.",
        see=("stage", "tensor"),
    ),
    Term(
        name="edit",
        text="A change you make to a value in order to see what follows from it. The model carries on with the changed "
        "value.",
        like="Like leaving out one ingredient and baking again.",
        see=("branch", "ablation", "stage"),
    ),
    Term(
        name="ablation",
        text="Switching a part off, usually by replacing its output with zeros or with a mean, to see what it was good "
        "for.",
        like="Like listening to a band without the drums.",
        see=("edit", "head", "MLP"),
        aliases=("ablate",),
    ),
    Term(
        name="branch",
        text="Another way the text could have gone from some token on. It shares everything before that token.",
        like="Like going back to a fork in the road and trying the other way.",
        see=("edit", "timeline", "token"),
    ),
    Term(
        name="timeline",
        text="All the stages that have run, in order. You can go back to any of them.",
        like="Like a roll of film.",
        see=("branch", "stage"),
    ),
    Term(
        name="nats",
        text="A unit of information that comes from the natural logarithm. 1 nat is about 1.44 bits.",
        like="Like kilometres beside miles: bits measure the same thing.",
        see=("entropy", "surprise"),
    ),
    Term(
        name="cosine",
        text="How alike the directions of two vectors are: 1 for the same direction, 0 for directions with nothing in "
        "common, -1 for opposite ones.",
        like="Like how far two signposts point the same way.",
        see=("vector", "residual stream"),
        aliases=("cosine similarity",),
    ),
)
