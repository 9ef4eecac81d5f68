from .lowering import Lowered as Lowered
from .lowering import WeightStorage as WeightStorage
from .lowering import activation_tensors as activation_tensors
from .lowering import lower as lower
from .lowering import needed_opset as needed_opset
