"""Glossary entries about text and tokens."""

from llmdbg.explain.glossary.terms import Term

TEXT_TERMS = (
    Term(
        name="token",
        text="A piece of text that the model treats as one unit: a word, part of a word, a punctuation mark or a "
        "space. Each token has a number, its id, and ids are all that goes into the model and all that comes out.",
        like="Tokens are to a model what bricks are to a wall: it never handles anything smaller.",
        see=("tokenizer", "vocabulary", "special token"),
    ),
    Term(
        name="token id",
        text="The number of a token in the vocabulary. It says nothing about what the token means: it only tells the "
        "model which row of the embedding to look up.",
        like="Like a locker number: lockers with neighbouring numbers need not hold similar things.",
        see=("token", "vocabulary", "embedding"),
        aliases=("id",),
    ),
    Term(
        name="tokenizer",
        text="The program that splits text into tokens before the model runs and joins tokens back into text "
        "afterwards. It is built before the model is trained, and training does not change it.",
        like="Like a typesetter who picks the largest ready-made pieces of type that spell a line.",
        see=("token", "vocabulary", "BPE", "chat template"),
    ),
    Term(
        name="vocabulary",
        text="The list of every token a model knows. A word that is not on it is spelled with several tokens, so "
        "almost any text can be written.",
        like="Like the keys of a very large keyboard: a word without a key of its own takes more keystrokes.",
        see=("token", "tokenizer", "logits"),
    ),
    Term(
        name="BPE",
        text="A way to build a vocabulary: start with single bytes or letters, and keep merging the pair that occurs "
        "side by side most often in a large text. Frequent words become one token, rare ones stay in pieces.",
        like="Like shorthand, which invents a sign for every phrase that is written often.",
        see=("tokenizer", "vocabulary", "token"),
        aliases=("byte pair encoding",),
    ),
    Term(
        name="special token",
        text="A token that stands for a role rather than for text: the beginning, the end, or whose turn it is to "
        "speak. The tokenizer and the chat template insert them; many tokenizers also produce one when its name is "
        "typed.",
        like="Like the stage directions in a play, which are read but not spoken.",
        see=("token", "EOS", "chat template"),
    ),
    Term(
        name="EOS",
        text="The special token that means: the answer ends here. When the model chooses it, generation stops. Models "
        "learn when to choose it, just as they learn everything else they write.",
        like='Like saying "over" on the radio.',
        see=("special token", "stop string", "generation"),
        aliases=("end of sequence", "end-of-sequence"),
    ),
    Term(
        name="stop string",
        text="A piece of text that ends the generation as soon as the answer contains it. It is a setting of the "
        "generation, not part of the model.",
        like="Like a tripwire stretched across the answer.",
        see=("EOS", "generation"),
    ),
    Term(
        name="chat template",
        text="The pattern that turns a conversation into one text, with special tokens that mark where each turn "
        "begins and who is speaking. The model was trained on texts in this pattern, so without it the answers tend "
        "to be worse.",
        like="Like a printed form that a letter is copied into before it is sent.",
        see=("special token", "prompt", "system message"),
    ),
    Term(
        name="system message",
        text="The first turn of a chat, which tells the model how to behave. It is text like the rest of the prompt, "
        "and the model reads it in the same way.",
        like="Like the instructions an actor is given before a scene.",
        see=("chat template", "prompt"),
    ),
    Term(
        name="prompt",
        text="The text that the model is given to continue. The tokenizer turns it into a row of token ids.",
        like="Like the opening of a story that somebody else is asked to finish.",
        see=("token", "prefill", "chat template"),
    ),
    Term(
        name="position",
        text="The place of a token in the sequence, counted from 0. A model works on one vector for each position, and "
        "attention (or, in models without it, a state) carries information from one position to another.",
        like="Like seats in a row: whoever sits there changes, the seat does not.",
        see=("sequence", "attention", "RoPE", "focus"),
    ),
    Term(
        name="sequence",
        text="The prompt and everything generated so far, as one row of tokens. Each new token makes it one longer.",
        like="Like a train that gains a carriage at the end.",
        see=("token", "position", "context length"),
    ),
    Term(
        name="context length",
        text="How many positions a model was built for. Prompt and answer have to fit into it together.",
        like="Like the size of a blackboard: when it is full, you have to stop writing.",
        see=("position", "sliding window", "KV cache"),
        aliases=("context",),
    ),
    Term(
        name="padding",
        text="Meaningless tokens put in front of a short prompt to make it as long as the others in its batch. A mask "
        "keeps attention from reading them.",
        like="Like blank pages bound into a book to make it as thick as the others.",
        see=("batch", "mask", "attention"),
        aliases=("left padding",),
    ),
    Term(
        name="batch",
        text="Several sequences that go through the model at the same time. llmdbg follows one.",
        like="Like a tray of loaves in one oven.",
        see=("padding", "tensor"),
    ),
    Term(
        name="generation",
        text="Writing an answer: run the model, choose one token, append it, and run the model again, until the answer "
        "ends.",
        like="Like building a path by laying one stone and stepping onto it to lay the next.",
        see=("forward", "prefill", "decode", "sampling"),
    ),
)
