"""Run llama.cpp's converter with the name of the pre-tokenizer given: a script, not a module.

    python gguf_launcher.py CONVERTER PRE_TOKENIZER CONVERTER_ARGUMENTS...

The converter recognises a pre-tokenizer by a hash of token ids, which no newly trained vocabulary
can match. The function that looks the hash up is `TextModel.get_vocab_base_pre` (`Model` before
2025), in convert_hf_to_gguf.py itself or in the package `conversion` beside it.
"""

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

converter, pre_tokenizer, *arguments = sys.argv[1:]
# in place of this script's own folder, whose modules are no packages: transformers tries `kernels`
sys.path[0] = str(Path(converter).parent)
loader = SourceFileLoader("convert_hf_to_gguf", converter)
spec = spec_from_file_location("convert_hf_to_gguf", converter, loader=loader)
assert spec is not None
assert spec.loader is not None
module = module_from_spec(spec)
sys.modules["convert_hf_to_gguf"] = module
spec.loader.exec_module(module)
places = [module, sys.modules.get("conversion.base")]
bases = [getattr(place, name, None) for place in places for name in ("TextModel", "Model")]
bases = [base for base in bases if hasattr(base, "get_vocab_base_pre")]
if not bases:
    sys.exit("this converter has no get_vocab_base_pre: its layout is not known to instructgpt")
for base in bases:
    base.get_vocab_base_pre = lambda self, tokenizer: pre_tokenizer
sys.argv = [converter, *arguments]
module.main()
