"""Contrastive pretraining on medical images: what the notebooks call.

Data flows one way: params → data → augment → encoder and loss → pretrain → embed → probe and
metrics → figures and findings → report. Import the module you need (`from lib.losses import
nt_xent`); heavy libraries load where they are used, so importing any of them is quick.
"""

__version__ = "0.1.0"
