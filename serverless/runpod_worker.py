"""`python -m serverless.runpod_worker`, as the worker is called elsewhere."""

from faster_higgs.deploy.runpod import main

if __name__ == "__main__":
    main()
