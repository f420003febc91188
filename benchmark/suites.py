"""Named recipes: sets of a run's fields. Options given on the command line override them."""

RECIPES: dict[str, dict] = {
    # two CPU cores, minutes: a small encoder whose ImageNet weights a package brings
    "quick": {},
    # one GPU: 256-pixel crops (give --crop 224 for sets of smaller images)
    "full": {
        "encoder": "resnet34",
        "width": 256,
        "crop": 256,
        "steps": 4000,
        "labelled": 8,
        "unlabelled": 8,
        "lr": 3e-4,
        "precision": "bf16",
    },
    # a foundation model's plain vision transformer under DPT; give its file with --weights
    "vit": {
        "encoder": "tu-vit_small_patch14_dinov2",
        "decoder": "dpt",
        "width": 128,
        "crop": 224,
        "tile": 224,
        "steps": 4000,
        "lr": 1e-4,
        "precision": "bf16",
    },
    # CDMA's protocol: DeepLabv3+ on ResNet-50, SGD, 8 + 8 images, windows of 256
    "digestpath": {
        "encoder": "resnet50",
        "decoder": "deeplabv3plus",
        "width": 256,
        "crop": 256,
        "steps": 15000,
        "labelled": 8,
        "unlabelled": 8,
        "optimiser": "sgd",
        "lr": 1e-2,
        "weight_decay": 5e-4,
        "precision": "bf16",
    },
}
