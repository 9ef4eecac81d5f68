from .passing import Pass as Pass
