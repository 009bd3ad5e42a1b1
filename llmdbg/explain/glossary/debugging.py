"""Glossary entries about looking inside: names (parted by `|`), what it is, an analogy, and what to see also."""

DEBUGGING: tuple[tuple[str, str, str, str], ...] = (
    (
        "rank",
        "The place of a token when all of them are sorted by their scores: rank 1 is the likeliest.",
        "Like a place in a race.",
        "logits|probability",
    ),
    (
        "standard deviation|std",
        "How far the numbers of a tensor lie from their mean, on the whole. It is written std.",
        "Like how much the heights of a class differ.",
        "tensor|vector",
    ),
    (
        "absmax|headroom",
        "The absmax is the largest size of any number in a tensor, whatever its sign. Headroom is how far that is from "
        "the largest number that its dtype can hold: beyond it, numbers become infinite.",
        "Like how near a lorry's load is to the height of a bridge.",
        "dtype|NaN|bfloat16",
    ),
    (
        "outlier dimension|outlier",
        "A place in the vectors whose numbers are far larger than those of all the others, at nearly every position. "
        "Most language models have a few, and quantisation has to spare them.",
        "Like one voice in a choir that drowns the rest.",
        "vector|quantisation",
    ),
    (
        "stage",
        "A place where llmdbg can stop the model: it has just run, and what came out of it is there to be looked at.",
        "Like a stop of a train, where you may get off and look around.",
        "breakpoint|module|address",
    ),
    (
        "address",
        "The name of a stage, as it is typed: 12 is a layer, 12.mlp its MLP, logits the scores, 12@5 the layer while "
        "generated token 5 is produced.",
        "Like a street and a number.",
        "stage|module",
    ),
    (
        "breakpoint",
        "A stage at which the run is to stop, always or where a condition holds.",
        "Like a bookmark at which the reader pauses.",
        "stage|watch|tracepoint",
    ),
    (
        "tracepoint",
        "A stage at which something is noted while the run goes on.",
        "Like a counter beside the road.",
        "breakpoint|watch",
    ),
    (
        "watch|watchpoint",
        "A value that stops the run when it changes.",
        "Like a smoke alarm.",
        "breakpoint|tracepoint",
    ),
    (
        "focus",
        "The position whose vector the numbers and the lens describe: the last one, unless you choose another.",
        "Like the line your finger is on.",
        "position|vector",
    ),
    (
        "logit lens|lens",
        "Reading a layer's vector as if it were the last one: it goes through the final norm and the output head, and "
        "the scores show what the model would say if it stopped there. Early layers often make no sense yet.",
        "Like looking into the oven before the cake is done.",
        "logits|layer|residual stream|attribution",
    ),
    (
        "attribution",
        "Dividing a token's score among the parts of the model that added to it. With the last norm held as it is, the "
        "scores of all parts add up to the whole.",
        "Like asking who paid how much of a bill.",
        "logits|residual stream|logit lens",
    ),
    (
        "probe",
        "A question that is put to a tensor at a stop and answered with a few numbers. Asking changes nothing.",
        "Like a thermometer.",
        "stage|tensor",
    ),
    (
        "edit",
        "A change that you make to a value, to see what follows from it. The model goes on with the changed value.",
        "Like taking one ingredient out and baking again.",
        "branch|ablation|stage",
    ),
    (
        "ablation|ablate",
        "Switching a part off, mostly by replacing what it puts out with zeros or a mean, to see what it was good for.",
        "Like listening to a band without the drums.",
        "edit|head|MLP",
    ),
    (
        "branch",
        "Another way the text could have gone, from some token on. It shares everything before that token.",
        "Like going back to a fork in the road, with the way you came still on the map.",
        "edit|timeline|token",
    ),
    (
        "timeline",
        "All stages that have run, in order. You can go back to any of them.",
        "Like the strip of a film.",
        "branch|stage",
    ),
    (
        "nats",
        "A unit of information, as the metre is one of length: it comes from the natural logarithm. 1 nat is about "
        "1.44 bits.",
        "Like miles and kilometres: bits measure the same.",
        "entropy|surprise",
    ),
    (
        "cosine|cosine similarity",
        "How alike the directions of two vectors are: 1 for the same, 0 for nothing in common, -1 for opposite.",
        "Like the angle between two signposts.",
        "vector|residual stream",
    ),
)
