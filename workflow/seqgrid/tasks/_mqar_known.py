"""What is known about models on MQAR: controls as measured here, and numbers of the literature."""

from seqgrid.tasks._base import Control, Published

CONTROLS = (
    Control(
        "attention",
        64,
        "SOLVED",
        "solves MQAR at every width and length, arXiv:2312.04927, figure 2; embeddings and weights "
        "of standard deviation 0.02 without a warm-up left it at the shortcut for 1,600 steps",
        settings={"num_heads": 1, "positions": "learned", "initializer_std": 0.1},
        training={
            "steps": 1200,
            "learning_rate": 2e-3,
            "weight_decay": 0.1,
            "stopping": {"solved_validations": 3},
        },
        seeds=2,
        cpu_minutes=1.5,
    ),
    Control(
        "deltanet",
        64,
        "SOLVED",
        "the delta rule overwrites the value of a key, arXiv:2406.06484",
        settings={"num_heads": 2},
        training={
            "steps": 400,
            "learning_rate": 3e-3,
            "weight_decay": 0.1,
            "validation": {"every_steps": 50},
        },
        cpu_minutes=0.5,
    ),
    Control(
        "lstm",
        64,
        "AT SHORTCUT",
        "a state of this width holds which values there were and not whose they are: 1 in 4, as "
        "measured here and in other implementations",
        training={"steps": 500, "learning_rate": 3e-3, "weight_decay": 0.1},
        cpu_minutes=0.5,
    ),
)

PUBLISHED = (
    Published(
        "Arora et al., arXiv:2312.04927, figure 2",
        "attention, 2 layers, 1 head, d 64 to 512",
        "V 8192; L 64, 128, 256, 512 with 4, 8, 16, 64 pairs; best of 4 learning rates",
        "solves every length at every width",
        "100,000 fixed examples in 64 epochs, cosine schedule",
    ),
    Published(
        "Arora et al., arXiv:2312.04927, figure 2",
        "gated convolutions (H3, Hyena, RWKV), 2 layers",
        "as for attention",
        "need a width that grows with the length",
        "as for attention",
    ),
    Published(
        "MetaLA, table A7",
        "transformer, d 64; Mamba, d 64 and 128; MetaLA, d 64 and 128",
        "L 512, 80 pairs",
        "above 99; 0.0 and 0.0; 28.5 and 90.4 %",
        "vocabulary, budget and learning rates of its own",
    ),
    Published(
        "Mamba-2, arXiv:2405.21060",
        "Mamba-2 with state 256; Mamba-1",
        "L 256, 512, 1024 with L / 4 pairs, d 32 to 256, 2 layers",
        "about equal to attention; often below 50 %",
        "about 2^28 examples over four stages of growing length",
    ),
    Published(
        "HazyResearch/zoology, issue 28",
        "H3, d 64, as published and run again",
        "the settings of figure 2",
        "about 0.25 and about 0.5",
        "as for attention; the same protocol moves by so much",
    ),
    Published(
        "Kimi Linear",
        "KDA; Gated DeltaNet; Mamba-2",
        "L 2048",
        "about 100; about 75; about 0 %",
        "pairs and budget of its own",
    ),
    Published(
        "arXiv:2508.19029",
        "transformer, 1 layer",
        "MQAR at the lengths of figure 2",
        "chance",
        "shows that recall needs two layers of attention",
    ),
)
