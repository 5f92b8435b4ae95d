"""What mmengine's runner needs: backbones, training and its schedule, processes, hooks, images, mmcv's operators.

Importing it adds to OpenMMLab's libraries what `additions` lists, in whichever order they are imported.
"""

from gemnet.core.extras import need
from gemnet.core.importing import watch
from gemnet.openmmlab.additions import AROUND

need("detection", "mmengine", "mmcv")
watch(AROUND)
