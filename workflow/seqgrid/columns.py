"""The columns of the tables that `collect` and `import` write, with their types and meanings."""

import pyarrow as pa

TEXT, INT, FLOAT, BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()
TIME = pa.timestamp("us", tz="UTC")

Column = tuple[str, pa.DataType, str]

# Who a row is about; repeated in every study table so that each can be read alone.
_CELL: list[Column] = [
    ("model", TEXT, "label of the model in the study"),
    ("task", TEXT, "label of the task in the study"),
    ("seqlen_tokens", INT, "training sequence length"),
    ("variant", TEXT, "swept settings of this cell, as key=value; empty where nothing is swept"),
    ("seed", INT, "seed of the cell; data, initialisation and order seeds derive from it"),
    ("fingerprint", TEXT, "hash of the settings that differ from the defaults"),
    ("path", TEXT, "folder of the cell, relative to the results folder"),
]

_PROVENANCE: list[Column] = [
    ("source_digest", TEXT, "digest of the sources the training came from"),
    ("git_commit", TEXT, "commit of the checkout; null outside git"),
    ("git_dirty", BOOL, "whether tracked files differed from the commit"),
    ("versions", TEXT, "package versions, a JSON object"),
    ("host", TEXT, "host name"),
    ("device", TEXT, "device name"),
    ("dtype", TEXT, "dtype of the weights"),
    ("backend", TEXT, "implementation of each operator, a JSON object"),
    ("threads", INT, "threads of the worker"),
    ("job_id", TEXT, "scheduler's job id; null for a local run"),
]

# Null for a model that runs no circuits.
_CIRCUITS: list[Column] = [
    ("qubits", INT, "qubits of the largest circuit; null for a model without circuits"),
    ("circuit_depth", INT, "depth of the deepest circuit; null for a model without circuits"),
    (
        "gates_per_example",
        INT,
        "gates of all circuits run for one training example; null for a model without circuits",
    ),
    (
        "circuits_per_example",
        INT,
        "circuits run for one training example; null for a model without circuits",
    ),
    (
        "simulated_flops_per_example",
        FLOAT,
        "forward FLOPs to simulate them gate by gate on all amplitudes, 2 each real multiply-add, "
        "not in flops_per_token; null for a model without circuits",
    ),
]
CIRCUITS = tuple(name for name, _, _ in _CIRCUITS)  # also names of `outcome.Progress`

_MODEL_CEILING: list[Column] = [
    (
        "model_ceiling",
        FLOAT,
        "the best that a model can score that sees so little of the order of positions; null "
        "where nothing is known to be lost",
    ),
    ("model_ceiling_name", TEXT, "what it sees"),
    ("model_ceiling_derivation", TEXT, "where the value comes from"),
]

_COST: list[Column] = [
    ("training_seconds", FLOAT, "time in training steps"),
    ("validation_seconds", FLOAT, "time in validation"),
    ("checkpoint_seconds", FLOAT, "time saving checkpoints"),
    ("peak_memory_bytes", INT, "peak resident memory, or peak device memory on CUDA"),
    ("peak_host_bytes", INT, "peak resident memory of the training process"),
    ("pieces", INT, "most pieces each batch was cut into, after an out-of-memory; 1: whole"),
]

HISTORY_FILE: list[Column] = [
    ("part", INT, "part of the training that made the row"),
    ("step_steps", INT, "optimiser steps done"),
    ("seen_tokens", INT, "tokens seen, padding included"),
    ("train_loss", FLOAT, "mean training loss since the row before, nats or squared error"),
    ("learning_rate", FLOAT, "learning rate of the last step"),
    ("gradient_norm", FLOAT, "gradient norm of the last step, before clipping"),
    ("validation_loss", FLOAT, "loss on the validation split"),
    ("metric", TEXT, "name of the task's metric"),
    ("validation_metric", FLOAT, "metric on the validation split"),
    ("validation_standard_error", FLOAT, "its standard error over validation examples"),
    ("training_seconds", FLOAT, "time in training steps so far, over all parts"),
]

EVALUATION_FILE: list[Column] = [
    ("weights", TEXT, "'best' on validation, or 'last'"),
    ("step_steps", INT, "optimiser steps these weights have"),
    ("evaluated_seqlen_tokens", INT, "sequence length of the test examples"),
    ("test_set", TEXT, "test set of the task; empty for the one drawn as training is"),
    ("slice", TEXT, "part of the test set; empty for all of it"),
    ("example", INT, "index of the test example"),
    ("scored", INT, "scored outputs of the example: positions, or values of a pooled target"),
    ("correct", INT, "of them, the right ones; null for regression without a tolerance"),
    ("loss_sum", FLOAT, "summed loss over scored outputs: nats, or squared error"),
    ("target_sum", FLOAT, "sum of the targets; null for classification"),
    ("target_square_sum", FLOAT, "sum of the squared targets; null for classification"),
]

COLLECTED: dict[str, list[Column]] = {
    "cells": [
        *_CELL,
        (
            "outcome",
            TEXT,
            "how the cell stands: an outcome's name, 'missing', 'corrupt', or 'running' where it "
            "was being trained when the tables were made",
        ),
        ("reason", TEXT, "why, in words"),
        ("error", TEXT, "traceback of a failure"),
        ("complete", BOOL, "training went to its end: outcome finished"),
        ("evaluated", BOOL, "test results exist"),
        ("refused", TEXT, "lengths the model could not be evaluated at, and why; null where none"),
        ("reused", BOOL, "another study trained this cell"),
        ("trained_for", TEXT, "study whose run trained it; null where not known"),
        ("stale", BOOL, "the sources of the training have changed since"),
        ("evaluation_stale", BOOL, "the sources of the evaluation have changed since"),
        (
            "mixed_sources",
            BOOL,
            "its parts differ in sources, device, dtype, backend or torch",
        ),
        ("model_file", TEXT, "name of the model in the registry"),
        ("task_file", TEXT, "name of the task in the registry"),
        ("settings", TEXT, "resolved settings, a JSON object"),
        ("parts", INT, "parts of the training so far"),
        ("step_steps", INT, "optimiser steps done"),
        (
            "reached_steps",
            INT,
            "step that a training under way had reached then: of a cell with the outcome "
            "'running', whose `step_steps` and history end with its newest checkpoint; else of a "
            "new run, and all other columns are of the one before, whose result it is to replace",
        ),
        ("budget_steps", INT, "optimiser steps asked for"),
        ("seen_tokens", INT, "tokens seen, padding included"),
        ("seen_examples", INT, "different training examples seen"),
        (
            "log2_inputs",
            FLOAT,
            "log2 of the number of different inputs of the task at the training length; null where "
            "the task's file does not say",
        ),
        (
            "known_plateau_steps",
            INT,
            "longest plateau known to have broken on the task; null where none is known",
        ),
        ("solved_step_steps", INT, "first validation at which the task counted as solved"),
        ("solved_seconds", FLOAT, "training time up to then"),
        ("best_step_steps", INT, "step of the best validation"),
        ("best_validation_metric", FLOAT, "metric at the best validation"),
        ("last_validation_metric", FLOAT, "metric at the last validation"),
        ("parameters", INT, "trainable parameters"),
        ("state_bytes", INT, "recurrent state or cache of one sequence at the training length"),
        (
            "flops_per_token",
            FLOAT,
            "forward FLOPs a token at the training length, 2 each multiply-add",
        ),
        *_CIRCUITS,
        ("tokens_per_second", FLOAT, "tokens of training steps, forward and backward, a second"),
        *_COST,
        ("evaluation_seconds", FLOAT, "time of the evaluate job"),
        ("started_at", TIME, "start of the first part"),
        ("ended_at", TIME, "end of the last part"),
        *_PROVENANCE,
    ],
    "parts": [
        *_CELL,
        ("run", TEXT, "'' for the first training of the cell, 'again1' ... for later ones"),
        ("part", INT, "number of the part"),
        ("outcome", TEXT, "how the part ended"),
        ("reason", TEXT, "why, in words"),
        ("error", TEXT, "traceback of a failure"),
        ("first_step_steps", INT, "optimiser steps done when the part began"),
        ("last_step_steps", INT, "optimiser steps done when it ended"),
        ("attempts", INT, "processes that worked on the part"),
        ("silent_deaths", INT, "of them, those that died without a word"),
        ("last_death", TEXT, "how the last of these died: the scheduler's state, or the signal"),
        ("last_death_reason", TEXT, "the same in words, with who cancelled the job"),
        ("last_death_host", TEXT, "where"),
        ("last_death_job_id", TEXT, "in which job of the scheduler"),
        ("last_death_lost_steps", INT, "steps it lost, from the last checkpoint to the heartbeat"),
        ("jobs", INT, "jobs that worked on the part"),
        ("asked_minutes", INT, "minutes asked for by all these jobs; null where none was asked"),
        ("asked_mb", INT, "memory asked for by the last of them, units of 2^20 bytes"),
        ("wall_seconds", FLOAT, "time of all attempts; of a silent death up to its heartbeat"),
        *_COST,
        ("started_at", TIME, "start of the part"),
        ("ended_at", TIME, "end of the part"),
        *_PROVENANCE,
    ],
    "history": [*_CELL, *HISTORY_FILE],
    "evaluations": [
        *_CELL,
        ("outcome", TEXT, "outcome of the cell; a row counts as final only where 'finished'"),
        ("weights", TEXT, "'best' on validation, or 'last'"),
        (
            "origin",
            TEXT,
            "'test': the test split; 'validation': taken from a checkpoint, never final",
        ),
        ("step_steps", INT, "optimiser steps these weights have"),
        ("evaluated_seqlen_tokens", INT, "sequence length of the test examples"),
        ("test_set", TEXT, "test set of the task; empty for the one drawn as training is"),
        ("slice", TEXT, "part of the test set; empty for all of it"),
        ("metric", TEXT, "name of the metric"),
        ("primary", BOOL, "the metric the task is judged by"),
        ("value", FLOAT, "the metric on the test split"),
        ("low", FLOAT, "lower end of its 95 % interval over test examples"),
        ("high", FLOAT, "upper end"),
        ("interval", TEXT, "method of the interval"),
        ("examples", INT, "test examples"),
        ("scored", INT, "scored outputs"),
        ("correct", INT, "scored outputs that are right; null for R2, MSE and loss"),
        *_MODEL_CEILING,
    ],
    "levels": [
        ("task", TEXT, "label of the task in the study"),
        ("evaluated_seqlen_tokens", INT, "sequence length the level holds at"),
        ("test_set", TEXT, "test set of the task; empty for the one drawn as training is"),
        ("slice", TEXT, "part of the test set; empty for all of it"),
        ("metric", TEXT, "name of the metric"),
        ("better", TEXT, "'higher' or 'lower'"),
        ("level", TEXT, "name of the level"),
        ("kind", TEXT, "'chance', 'shortcut', 'ceiling' or 'solved'"),
        ("value", FLOAT, "the level, in the unit of the metric"),
        ("derivation", TEXT, "where the value comes from"),
    ],
    "controls": [
        ("task_file", TEXT, "name of the task in the registry"),
        ("control", TEXT, "model and lengths of the control; '' where none is declared"),
        ("expected", TEXT, "verdict that is known beforehand"),
        ("observed", TEXT, "verdicts that the rules found"),
        ("state", TEXT, "'passed', 'failed', 'partial', 'not run', or 'not declared'"),
        ("reason", TEXT, "why it passed, failed, or cannot be told"),
        ("settings", TEXT, "task settings of the control that differ from the defaults, JSON"),
        ("why", TEXT, "where the expectation is known from"),
        ("study", TEXT, "study that holds the control"),
        ("paths", pa.list_(TEXT), "folders of its cells, relative to the results folder"),
    ],
    # Of a study run elsewhere, what only its report says; no row of a study run here.
    "reported": [
        ("model", TEXT, "label of the model in the study"),
        ("task", TEXT, "label of the task in the study"),
        ("variant", TEXT, "swept settings, as key=value; empty where nothing is swept"),
        ("seqlen_tokens", INT, "training sequence length"),
        ("evaluated_seqlen_tokens", INT, "sequence length of the test examples"),
        ("test_set", TEXT, "test set of the task; empty for the one drawn as training is"),
        ("metric", TEXT, "name of the metric"),
        ("statistic", TEXT, "'mean', 'median', 'peak' or 'final' over what is not known singly"),
        ("value", FLOAT, "as the report has it"),
        ("standard_error", FLOAT, "of the value, over test examples; null where unknown"),
        ("seeds", INT, "runs behind it; null where not said"),
        ("asked", INT, "runs there should be; null where not said"),
        ("origin", TEXT, "'test', 'validation' or 'mixed'"),
        ("source", TEXT, "file and table it was read from"),
        *_MODEL_CEILING,
    ],
    # Of a study run elsewhere, what it says of each run, beside what that counts as here.
    "inventory": [
        ("model", TEXT, "label of the model in the study"),
        ("task", TEXT, "label of the task in the study"),
        ("variant", TEXT, "swept settings, as key=value; empty where nothing is swept"),
        ("seqlen_tokens", INT, "training sequence length"),
        ("seed", INT, "seed of the run"),
        ("status", TEXT, "how the run stands, in the words of its study; null where it says none"),
        ("outcome", TEXT, "what that counts as here"),
        ("result_valid", BOOL, "whether its result can be read; null where nobody says"),
        (
            "value_origin",
            TEXT,
            "'test' or 'validation' of the value here; null where there is none",
        ),
        ("counted", BOOL, "whether its study counts the value of its checkpoint as a result"),
        ("file", TEXT, "file of the run, as its study names it"),
        ("modified_at", TIME, "when that was last written"),
        ("step_steps", INT, "optimiser steps done"),
        ("epochs", FLOAT, "epochs, as its study counts them; null where it counts none"),
        ("note", TEXT, "what else its study says of it"),
        ("source", TEXT, "file and line it was read from"),
    ],
    "history_file": HISTORY_FILE,
    "evaluation_file": EVALUATION_FILE,
}
