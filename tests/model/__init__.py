"""The model of intake and publication (docs/model/README.md): its runs, and the program that searches them."""
