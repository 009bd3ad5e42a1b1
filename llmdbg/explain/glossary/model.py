"""Glossary entries about the inside of a model."""

from llmdbg.explain.glossary.terms import Term

MODEL_TERMS = (
    Term(
        name="language model",
        text="A program whose numbers were learned from a great deal of text and that does one thing: say how likely "
        "each token is to come next. A large one has billions of such numbers.",
        like="Like someone who has read a whole library and can guess how any sentence continues.",
        see=("token", "weight", "probability", "forward"),
        aliases=("LLM", "large language model"),
    ),
    Term(
        name="transformer",
        text="The design of most language models (Vaswani et al. 2017): a stack of layers, each with attention, which "
        "carries information between positions, and an MLP, which works on each position by itself.",
        like="Like a text passed along a row of desks, with notes added at each one.",
        see=("layer", "attention", "MLP", "residual stream"),
    ),
    Term(
        name="bias",
        text="Learned numbers that are added to a result, whatever the input was. Many models have none.",
        like="Like a bathroom scale that always shows a little too much.",
        see=("weight", "matrix"),
        aliases=("biases",),
    ),
    Term(
        name="soft-capping",
        text="A way to keep scores from growing without limit, used by Gemma 2 among others: the larger a score is, "
        "the less it still grows, and it never passes a fixed value.",
        like="Like a spring that gets stiffer the further you press it.",
        see=("logits", "attention"),
        aliases=("soft cap", "softcap"),
    ),
    Term(
        name="safetensors",
        text="Safetensors and GGUF are two file formats for weights. GGUF files usually hold quantised weights.",
        like="Like two file formats for the same photograph.",
        see=("weight", "quantisation"),
        aliases=("GGUF",),
    ),
    Term(
        name="vector",
        text="A row of numbers. Inside the model each position has one, which holds what the model has worked out so "
        "far about the token there.",
        like="Like map coordinates, but with hundreds of numbers instead of two.",
        see=("matrix", "tensor", "residual stream"),
    ),
    Term(
        name="matrix",
        text="A table of numbers with rows and columns. Multiplying a vector by it gives another vector, and each "
        "number of the new one is a weighted sum of the old ones.",
        like="Like a mixing desk: each output is its own mix of all the inputs.",
        see=("vector", "weight", "projection"),
    ),
    Term(
        name="tensor",
        text="Numbers arranged along any number of axes: a vector has one axis, a matrix two. The output of a layer "
        "has three: the sequences in the batch, the positions, and the numbers of each vector.",
        like="Like a cabinet of drawers with a table of numbers in each.",
        see=("vector", "matrix", "shape", "dtype"),
    ),
    Term(
        name="shape",
        text="How many entries a tensor has along each axis. [1, 13, 576] means 1 sequence of 13 positions with 576 "
        "numbers each.",
        like="Like the measurements on a box.",
        see=("tensor", "batch", "position"),
    ),
    Term(
        name="embedding",
        text="A table with one row of learned numbers for every token of the vocabulary. Looking up a token's row "
        "turns its id into a vector that the model can work with.",
        like="Like a dictionary that gives coordinates instead of definitions: words used alike lie close together.",
        see=("token id", "vector", "residual stream", "tied weights"),
    ),
    Term(
        name="residual stream",
        text="The vector of a position on its way through the layers. Each part of a layer reads it and adds something "
        "to it, so whatever was there before is still in it.",
        like="Like a shared notebook that goes from desk to desk: everyone reads it and adds a few lines.",
        see=("layer", "vector", "embedding"),
        aliases=("residual",),
    ),
    Term(
        name="layer",
        text="One of many similar blocks that the model runs one after another. Most have two parts: one reads from "
        "other positions, the other works on each position by itself. Both add their results to the residual stream.",
        like="Like an editor: the text passes through many hands, and each improves it a little.",
        see=("attention", "MLP", "residual stream"),
        aliases=("decoder layer", "block"),
    ),
    Term(
        name="module",
        text="A part of the model with a computation of its own. It may be made of smaller modules. llmdbg can stop "
        "after each of them.",
        like="Like an assembly in a machine, which may itself be made of smaller ones.",
        see=("layer", "forward", "stage"),
    ),
    Term(
        name="attention",
        text="The part of a layer that lets a position read from itself and the positions before it. It gives each of "
        "them a share, the shares add up to 100%, and the result is a mix of their values in these shares.",
        like="Like looking back through your notes for the lines that matter for the next word.",
        see=("head", "query", "key", "value", "KV cache"),
        aliases=("self-attention",),
    ),
    Term(
        name="head",
        text="One of several attentions that a layer runs side by side, each looking for something different. Their "
        "results are then combined. The output head is something else: see `output head`.",
        like="Like several people reading the same page, each looking for something else.",
        see=("attention", "grouped-query attention", "query"),
        aliases=("attention head",),
    ),
    Term(
        name="output head",
        text="The matrix after the last layer. It compares the vector of a position with every token of the vocabulary "
        "and gives each token a score.",
        like="Like a quiz machine that compares your answer with every answer it knows.",
        see=("logits", "vocabulary", "tied weights"),
        aliases=("lm head", "unembedding"),
    ),
    Term(
        name="query",
        text="What a position is looking for in attention: a vector computed from its own. It is compared with the "
        "keys of the positions it can read from.",
        like="Like what you type into a search box.",
        see=("key", "value", "attention", "head"),
        aliases=("queries",),
    ),
    Term(
        name="key",
        text="What a position can be found by in attention: a vector computed from its own. The better it matches a "
        "query, the more attention the position gets.",
        like="Like the title on the spine of a book.",
        see=("query", "value", "KV cache"),
    ),
    Term(
        name="value",
        text="What attention reads from a position it has found: a vector computed from the one there.",
        like="Like the contents of the book that the title led you to.",
        see=("query", "key", "attention"),
    ),
    Term(
        name="KV cache",
        text="The keys and values of all earlier positions, kept so that they need not be computed again. Because of "
        "it, each new token takes a forward pass over a single position.",
        like="Like keeping notes on a book instead of reading it again for every sentence you write.",
        see=("key", "value", "prefill", "decode"),
        aliases=("cache",),
    ),
    Term(
        name="grouped-query attention",
        text="Attention in which several query heads share one head of keys and values. It makes the KV cache smaller.",
        like="Like several readers sharing one index.",
        see=("head", "KV cache", "query"),
        aliases=("GQA",),
    ),
    Term(
        name="attention sink",
        text="A position, usually the first, to which many heads give a large share although it says little. Heads "
        "look there when there is nothing useful to read.",
        like="Like looking at the ceiling while you think.",
        see=("attention", "head"),
        aliases=("sink",),
    ),
    Term(
        name="mask",
        text="What keeps attention from reading where it must not: at later positions, at padding, and beyond a "
        "sliding window.",
        like="Like a sheet of paper laid over the lines you have not read yet.",
        see=("attention", "padding", "sliding window"),
        aliases=("causal mask",),
    ),
    Term(
        name="RoPE",
        text="How many models tell attention where tokens are: queries and keys are rotated by angles that grow with "
        "the position, so that comparing them depends on how far apart they are.",
        like="Like the hands of a clock: the angle between two times shows how far apart they are.",
        see=("position", "query", "key"),
        aliases=("rotary position", "rotary"),
    ),
    Term(
        name="sliding window",
        text="A limit on how far back attention reads. What lies further back can only arrive by way of the layers "
        "below.",
        like="Like reading through a slot that moves along the lines.",
        see=("attention", "mask", "context length"),
        aliases=("window",),
    ),
    Term(
        name="MLP",
        text="The part of a layer that works on each position by itself: it widens the vector, lets only some of the "
        "numbers through, and brings it back to its size. Much of what a model knows is thought to be stored there.",
        like="Like thinking over what you have just read, each reader alone.",
        see=("layer", "activation", "residual stream"),
        aliases=("feed-forward", "feed forward"),
    ),
    Term(
        name="SwiGLU",
        text="An MLP with two inputs side by side: one decides how much of each number gets through, the other what "
        "the number is.",
        like="Like a row of taps, each with its own valve.",
        see=("MLP", "activation"),
        aliases=("gated MLP",),
    ),
    Term(
        name="activation",
        text="A simple curve applied to each number by itself, which mostly holds back negative ones. Without it, "
        "several matrices in a row could be replaced by a single one. The values inside a running model are called "
        "activations as well.",
        like="Like a valve that opens only under pressure.",
        see=("MLP", "SwiGLU"),
        aliases=("activation function",),
    ),
    Term(
        name="norm",
        text="A step that brings the vector of each position to a common size, so that the next part gets numbers in "
        "the range it is used to. The length of a vector is called its norm too.",
        like="Like adjusting the volume before the next recording.",
        see=("RMSNorm", "vector", "residual stream"),
        aliases=("normalisation", "layer norm", "layernorm"),
    ),
    Term(
        name="RMSNorm",
        text="A norm that divides a vector by the root of the mean of its squares and multiplies each number by a "
        "learned weight. Unlike LayerNorm, it does not subtract the mean.",
        like="Like turning the volume down without touching the balance.",
        see=("norm", "vector"),
    ),
    Term(
        name="projection",
        text="A module that multiplies each vector by one learned matrix. Most of a model's weights are in "
        "projections.",
        like="Like looking at the same object from another side.",
        see=("matrix", "weight", "query"),
        aliases=("linear",),
    ),
    Term(
        name="weight",
        text="A number that was set by training and does not change when the model runs. The weights are the model: "
        "the program around them is short.",
        like="Like the settings of a machine that somebody spent months adjusting.",
        see=("matrix", "dtype", "quantisation"),
        aliases=("parameter",),
    ),
    Term(
        name="tied weights",
        text="The embedding and the output head are the same matrix, used in both directions.",
        like="Like a phrase book that can be read from either side.",
        see=("embedding", "output head", "weight"),
        aliases=("tied",),
    ),
    Term(
        name="mixture of experts",
        text="A layer with several MLPs, its experts, of which each position uses only a few. The model can know more "
        "without more work for each token.",
        like="Like a practice with many doctors, where each patient sees only the two who fit.",
        see=("router", "MLP", "layer"),
        aliases=("MoE",),
    ),
    Term(
        name="router",
        text="The small part of a mixture of experts that decides which experts a position is sent to.",
        like="Like the reception desk of that practice.",
        see=("mixture of experts", "MLP"),
        aliases=("gate",),
    ),
    Term(
        name="state-space model",
        text="A layer that reads the positions one after another and keeps a state of fixed size, where attention "
        "would look back at all of them.",
        like="Like following a talk with a summary in your head instead of a transcript.",
        see=("attention", "layer", "KV cache"),
        aliases=("mamba", "state space"),
    ),
    Term(
        name="dropout",
        text="During training, dropout sets some numbers to zero at random, so that the model does not rely on any "
        "single one. When the model writes, dropout does nothing.",
        like="Like practising with one hand tied, and playing with both.",
        see=("training", "module"),
    ),
    Term(
        name="training",
        text="How the weights came about: the model guessed the next token in an enormous amount of text, and after "
        "each round of guesses every weight was nudged to make the right tokens likelier.",
        like="Like learning a language by guessing how sentences continue.",
        see=("weight", "loss", "token"),
    ),
    Term(
        name="loss",
        text="How wrong a guess was in training: minus the logarithm of the probability that the model gave to the "
        "right token.",
        like="Like points taken off for being surprised.",
        see=("training", "surprise", "perplexity"),
    ),
    Term(
        name="dtype",
        text="How each number of a tensor is stored: how many bits it has and how they are used. Fewer bits take less "
        "memory and are less precise.",
        like="Like measuring a length to the millimetre or to the metre.",
        see=("bfloat16", "float32", "quantisation"),
    ),
    Term(
        name="bfloat16",
        text="A 16-bit number with the range of float32 but only two to three decimal digits. Models are often stored "
        "in it. float16 is more precise, but its range is much smaller: above 65,504, values become infinite.",
        like="Like a ruler as long as the other one but with fewer marks.",
        see=("dtype", "float32", "NaN"),
        aliases=("bf16", "float16"),
    ),
    Term(
        name="float32",
        text="A 32-bit number with about seven decimal digits.",
        like="Like a ruler with fine marks.",
        see=("dtype", "bfloat16"),
    ),
    Term(
        name="quantisation",
        text="Storing weights in 8 or 4 bits, with a scale for each group of them. The model becomes several times "
        "smaller and slightly less accurate.",
        like="Like a picture with fewer colours: smaller, and you can hardly tell.",
        see=("weight", "dtype"),
        aliases=("quantization", "quantised", "quantized"),
    ),
    Term(
        name="NaN",
        text='"Not a number", for example the result of 0 divided by 0. Whatever is computed from it becomes NaN too, '
        "so a single one can spoil everything after it. It often starts as infinity: a number too large for its dtype.",
        like="Like a drop of ink in a glass of water.",
        see=("dtype", "float32", "breakpoint"),
        aliases=("not a number", "infinity", "inf"),
    ),
    Term(
        name="forward",
        text="One run through the whole model, from token ids to scores for the next token.",
        like="Like one trip down the assembly line.",
        see=("prefill", "decode", "layer"),
        aliases=("forward pass",),
    ),
    Term(
        name="prefill",
        text="The first forward pass: the whole prompt goes through the model at once, all positions side by side. It "
        "fills the KV cache and produces the first token.",
        like="Like reading the question before you begin to answer.",
        see=("decode", "forward", "KV cache"),
    ),
    Term(
        name="decode",
        text="Every later forward pass: only the newest token goes through the model, and attention reads what the "
        "earlier ones left in the KV cache.",
        like="Like writing the answer word by word, with the question still in mind.",
        see=("prefill", "forward", "KV cache"),
    ),
    Term(
        name="GPU",
        text="A processor with its own memory that does thousands of small calculations at once; most models run on "
        "one. The weights are copied into its memory before anything runs. CUDA is how NVIDIA's are programmed.",
        like="Like a kitchen with a thousand cooks all following the same recipe.",
        see=("weight", "tensor", "dtype"),
        aliases=("CUDA", "device"),
    ),
)
