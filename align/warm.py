"""What every stage imports, imported once: the forkserver loads this module and stages are forked from it.

Nothing here may touch CUDA or start threads: a forked process could use neither.
"""

import datasets  # noqa: F401
import peft  # noqa: F401
import torch  # noqa: F401
import transformers.trainer  # noqa: F401
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer  # noqa: F401
from trl import DPOTrainer, SFTTrainer  # noqa: F401

import align.stages.dpo
import align.stages.evaluate
import align.stages.export
import align.stages.pretrain
import align.stages.rank
import align.stages.reward
import align.stages.sample
import align.stages.sft
import align.trainers.shim  # noqa: F401
