"""Annotations of objects, read as untrusted: COCO's JSON, its images and boxes. Works without OpenMMLab."""
