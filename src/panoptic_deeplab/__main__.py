"""`python -m panoptic_deeplab` is the command `panoptic-deeplab`."""

from panoptic_deeplab.cli import main

if __name__ == "__main__":
    main()
